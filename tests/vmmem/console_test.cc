#include "tools/vmmem/console.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "vm_mem/copy_policy.h"

namespace vmmem {
namespace {

TEST(ConsoleTest, SizesHaveUnits) {
  EXPECT_EQ(size_name(0), "0");
  EXPECT_EQ(size_name(100), "100");
  EXPECT_EQ(size_name(4096), "4K");
  EXPECT_EQ(size_name(3 << 20), "3M");
  EXPECT_EQ(size_name(vm_mem::kNever), "never");
}

TEST(ConsoleTest, AnUpperEndMayBeNone) {
  EXPECT_EQ(limit_name("rep_movsb_max", vm_mem::kNever), "none");
  EXPECT_EQ(limit_name("rep_movsb_min", vm_mem::kNever), "never");
  EXPECT_EQ(limit_name("rep_movsb_max", 64), "64");
}

TEST(ConsoleTest, BarsAreOfHashesOrOfEighths) {
  EXPECT_EQ(bar(1, 2, 10, Charset::kAscii), "#####");
  EXPECT_EQ(bar(9, 2, 4, Charset::kAscii), "####");
  EXPECT_EQ(bar(0, 2, 4, Charset::kUtf8), "");
  EXPECT_EQ(bar(1, 2, 3, Charset::kUtf8), "\u2588\u258c");  // one and a half
}

TEST(ConsoleTest, ColoursOnlyWhereTheStyleHasThem) {
  EXPECT_EQ(painted("x", Colour::kGood, {.coloured = false}), "x");
  EXPECT_EQ(painted("x", Colour::kPlain, {.coloured = true}), "x");
  EXPECT_EQ(painted("x", Colour::kBad, {.coloured = true}), "\x1b[31mx\x1b[0m");
}

TEST(ConsoleTest, WrapsAtBlanks) {
  const std::string word(40, 'x');
  EXPECT_EQ(wrapped("a b"), "   a b\n");
  EXPECT_EQ(wrapped(word + " " + word), "   " + word + "\n   " + word + "\n");
}

TEST(ConsoleTest, ProgressLineShowsPartAndTime) {
  const std::string line = progress_line("verify", 0.5, 3.2);
  EXPECT_NE(line.find("verify  [###############               ]  50 %  3 s"), std::string::npos)
      << line;
}

TEST(ConsoleTest, ProgressSaysNothingToWhatIsNoTerminal) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  {
    Progress progress("verify", ends[1]);
    progress.show(1);
  }
  close(ends[1]);
  char byte = 0;
  EXPECT_EQ(read(ends[0], &byte, 1), 0);
  close(ends[0]);
}

}  // namespace
}  // namespace vmmem
