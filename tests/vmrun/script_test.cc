#include "tools/vmrun/script.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace vmrun {
namespace {

void hear(Script& script, std::string_view text) {
  for (const char byte : text) script.hear(byte);
}
std::string said(Script& script) {
  std::string out;
  while (const auto byte = script.say()) out.push_back(*byte);
  return out;
}

TEST(ScriptTest, SkipsBlankLinesAndComments) {
  EXPECT_THAT(script_lines("# what\n\nvirtio info\r\n  \npoweroff"),
              testing::ElementsAre("virtio info", "poweroff"));
  EXPECT_THAT(script_lines("\n#\n"), testing::IsEmpty());
}

TEST(ScriptTest, TypesOneLineAtEachPrompt) {
  Script script({"one", "two"});
  EXPECT_EQ(said(script), "");
  hear(script, "banner\r\n=> ");
  EXPECT_EQ(said(script), "one\r");
  hear(script, "one\r\noutput\r\n");
  EXPECT_EQ(said(script), "");
  hear(script, "=> ");
  EXPECT_EQ(said(script), "two\r");
  EXPECT_EQ(script.state(), PeerState::kSilent);
}

TEST(ScriptTest, IsDoneAtThePromptBehindTheLastLine) {
  Script script({"one"});
  hear(script, "=> ");
  EXPECT_EQ(script.state(), PeerState::kSilent);
  hear(script, "one\r\n=> ");
  EXPECT_EQ(script.state(), PeerState::kDone);
}

TEST(ScriptTest, APromptIsAtTheBeginningOfALine) {
  Script script({"one"});
  hear(script, "crc ==> 1234 => \n");
  EXPECT_EQ(said(script), "");
  EXPECT_EQ(script.lines_left(), 1u);
}

TEST(ScriptTest, StopsTheAutomaticBootOnce) {
  Script script({"one"});
  hear(script, "Hit any key to stop autoboot:  2 ");
  EXPECT_EQ(said(script), " ");
  hear(script, "\b\b\b 0 \r\n=> ");
  EXPECT_EQ(said(script), "one\r");
  hear(script, "\r\nHit any key to stop autoboot");
  EXPECT_EQ(said(script), "");
}

}  // namespace
}  // namespace vmrun
