#include "tools/vmmem/measure.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "vm_mem/copy_rows.h"

namespace vmmem {
namespace {

using std::chrono::microseconds;

TEST(MeasureTest, MedianIsTheMiddle) {
  EXPECT_EQ(median_of({3, 1, 2}), 2);
  EXPECT_EQ(median_of({7}), 7);
}

TEST(MeasureTest, RatioIsPerRoundAndShrugsOffOneDisturbedRound) {
  const std::vector<double> reference(25, 10);
  std::vector<double> times(25, 5);
  times[3] = 5000;
  const Spread ratio = ratio_of(reference, times);
  EXPECT_EQ(ratio.median, 2);
  EXPECT_EQ(ratio.least, 2);
  EXPECT_EQ(ratio.most, 2);
}

TEST(MeasureTest, RatioShowsHowItSpreads) {
  const Spread ratio = ratio_of({1, 2, 3, 4, 5}, {1, 1, 1, 1, 1});
  EXPECT_EQ(ratio.median, 3);
  EXPECT_EQ(ratio.least, 1);
  EXPECT_EQ(ratio.most, 5);
}

TEST(MeasureTest, GeometricMeanOfNothingIsOne) {
  EXPECT_EQ(geometric_mean({}), 1);
  EXPECT_DOUBLE_EQ(geometric_mean({2, 8}), 4);
}

int prepared = 0;

TEST(MeasureTest, EveryContenderRunsInEveryRoundAndIsPrepared) {
  Buffers buffers(4096);
  prepared = 0;
  const auto scalar = vm_mem::copy_rows().back();
  const Times times =
      time_interleaved({{.name = "libc", .copy = LibcCopy{}},
                        {.name = "scalar",
                         .copy = scalar.copy,
                         .prepare = [] { ++prepared; },
                         .after = After::kReadAll}},
                       buffers, {.bytes = 64, .step = 128, .span = 4096}, 3, microseconds(0));
  ASSERT_EQ(times.size(), 2u);
  EXPECT_EQ(times[0].size(), 3u);
  EXPECT_EQ(times[1].size(), 3u);
  EXPECT_GE(prepared, 3);
  for (const double time : times[1]) EXPECT_GT(time, 0);
}

std::size_t furthest = 0;
std::byte* base = nullptr;

TEST(MeasureTest, WalksStayInTheirSpan) {
  Buffers buffers(4096);
  furthest = 0;
  base = buffers.dst();
  const auto copy = [](std::byte* dst, const std::byte*, std::size_t n) {
    furthest = std::max(furthest, static_cast<std::size_t>(dst - base) + n);
  };
  time_interleaved({{.name = "", .copy = +copy}}, buffers,
                   {.bytes = 100, .step = 192, .span = 4096}, 2, microseconds(0));
  EXPECT_EQ(furthest, 192u * 20 + 100);
}

TEST(MeasureTest, DrawnSizesLieBetweenOneAndTheMost) {
  std::vector<std::byte> src(40, std::byte{1});
  std::vector<std::byte> dst(40);
  for (int i = 0; i < 5000; ++i) DrawnSizes<LibcCopy>{32}(dst.data(), src.data(), 0);
  EXPECT_EQ(std::count(dst.begin(), dst.end(), std::byte{1}), 32);
}

}  // namespace
}  // namespace vmmem
