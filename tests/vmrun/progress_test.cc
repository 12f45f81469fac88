#include "tools/vmrun/progress.h"

#include <gtest/gtest.h>

#include <unistd.h>

#include <array>

namespace vmrun {
namespace {

TEST(ProgressTest, TheLineSaysHowFarTheRunHasCome) {
  EXPECT_EQ(progress_line({.seconds = 12, .instructions = 3'400'000'000, .dma_bytes = 3 << 19}),
            "12 s, 3400 M instructions, 283 MIPS, 1.5 MiB by DMA");
  EXPECT_EQ(
      progress_line({.seconds = 10, .instructions = 1'000'000, .most_instructions = 4'000'000}),
      "10 s, 1 M instructions, 0 MIPS, 0.0 MiB by DMA, 25 % done, 30 s left");
  EXPECT_EQ(progress_line({.most_instructions = 5}),
            "0 s, 0 M instructions, 0 MIPS, 0.0 MiB by DMA");
}

class StatusTest : public testing::Test {
 protected:
  void SetUp() override { ASSERT_EQ(pipe(ends_.data()), 0); }
  void TearDown() override {
    close(ends_[0]);
    close(ends_[1]);
  }
  std::string written() {
    std::array<char, 4096> buffer;
    const ssize_t got = read(ends_[0], buffer.data(), buffer.size());
    return {buffer.data(), static_cast<std::size_t>(got)};
  }

  std::array<int, 2> ends_{};
};

TEST_F(StatusTest, OutputTakesThePlaceOfAStatus) {
  Output output(ends_[1]);
  output.put("one\n");
  output.show_status("half");
  output.show_status("all");
  output.put("two\n");
  output.flush();
  output.put("three\n");
  output.flush();
  EXPECT_EQ(written(), "one\n\r\x1b[Khalf\r\x1b[Kall\r\x1b[Ktwo\nthree\n");
  EXPECT_EQ(output.bytes_put(), 14u);
}

TEST_F(StatusTest, ItIsClearedOnce) {
  {
    Output output(ends_[1]);
    output.show_status("x");
    output.clear_status();
    output.clear_status();
  }
  EXPECT_EQ(written(), "\r\x1b[Kx\r\x1b[K");
}

TEST_F(StatusTest, ProgressIsShownWhileTheGuestIsQuiet) {
  Output output(ends_[1]);
  const auto machine =
      Machine::create({.memory_bytes = 16 << 20, .disks = {}, .console = [](char) {}}).value();
  Progress progress(*machine, output, std::nullopt);
  const auto begin = Progress::Clock::now();
  const auto after = [&](int milliseconds) {
    progress.attend(begin + std::chrono::milliseconds(milliseconds));
  };
  after(100);
  output.put("a line\n");
  after(700);
  after(1100);
  output.flush();
  EXPECT_EQ(written(), "a line\n");
  after(1300);
  EXPECT_EQ(written(), "\r\x1b[K1 s, 0 M instructions, 0 MIPS, 0.0 MiB by DMA");
  output.put("=> ");
  after(2000);
  after(3000);
  output.flush();
  EXPECT_EQ(written(), "\r\x1b[K=> ");
}

}  // namespace
}  // namespace vmrun
