#include "tools/vmmem/console.h"
#include "tools/command_line/printable.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <pty.h>
#include <unistd.h>

#include <cstdint>
#include <string>

#include "vm_mem/copy_policy.h"

namespace vmmem {
namespace {

using command_line::printable;

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

TEST(ConsoleTest, ProgressOfBytesHasRateAndTimeLeft) {
  EXPECT_EQ(progress_line("merge", 1 << 30, std::uint64_t{3} << 30, 2),
            "merge  [##########                    ]  33 %  512.0 MiB/s  4 s left");
  EXPECT_EQ(progress_line("merge", 0, 4096, 1), "merge  [                              ]   0 %");
  EXPECT_EQ(progress_line("merge", 0, 0, 1), "merge  [##############################] 100 %");
}

TEST(ConsoleTest, AmountsHaveUnitsOf1024) {
  EXPECT_EQ(amount(0), "0 B");
  EXPECT_EQ(amount(1023), "1023 B");
  EXPECT_EQ(amount(1024), "1.0 KiB");
  EXPECT_EQ(amount(std::uint64_t{3} << 29), "1.5 GiB");
  EXPECT_EQ(amount(UINT64_MAX), "16.0 EiB");
}

TEST(ConsoleTest, WhatIsNoTextIsToldByItsBytes) {
  EXPECT_EQ(printable("cpu/0 \u00e4\u20ac"), "cpu/0 \u00e4\u20ac");
  EXPECT_EQ(printable("\x1b[2J\n\x7f"), "\\x1b[2J\\x0a\\x7f");
  EXPECT_EQ(printable("\xc2\x9b\xff\xc0\x80\xed\xa0\x80\xe2\x82"),
            "\\xc2\\x9b\\xff\\xc0\\x80\\xed\\xa0\\x80\\xe2\\x82");
  EXPECT_EQ(printable("\xf4\x90\x80\x80"), "\\xf4\\x90\\x80\\x80");
}

TEST(ConsoleTest, ProgressOfBytesIsShownOnATerminalAndGoes) {
  int master = -1;
  int slave = -1;
  if (openpty(&master, &slave, nullptr, nullptr, nullptr) != 0) {
    GTEST_SKIP() << "this machine gives no pseudo-terminal";
  }
  const auto told = [&] {
    char text[4096];
    return std::string(text, static_cast<std::size_t>(read(master, text, sizeof text)));
  };
  {
    Progress progress("merge", slave);
    pollfd there{.fd = master, .events = POLLIN, .revents = 0};
    while (poll(&there, 1, 10) == 0) progress.show(std::uint64_t{1} << 20, std::uint64_t{1} << 21);
    EXPECT_THAT(told(), testing::MatchesRegex("\rmerge  \\[#+ +\\]  50 %  .*iB/s  .* s left.*"));
  }
  EXPECT_EQ(told(), "\r\x1b[K");
  close(master);
  close(slave);
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
