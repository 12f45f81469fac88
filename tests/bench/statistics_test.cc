#include "bench/harness/statistics.h"

#include <gtest/gtest.h>

#include <numeric>

namespace vm_bench {
namespace {

TEST(StatisticsTest, OneValueIsItsOwnSummary) {
  const Summary summary = summarize({3});
  EXPECT_EQ(summary.median, 3);
  EXPECT_EQ(summary.low, 3);
  EXPECT_EQ(summary.high, 3);
}

TEST(StatisticsTest, TheMedianOfAnEvenCountIsBetweenTheMiddleTwo) {
  const Summary summary = summarize({4, 1, 3, 2});
  EXPECT_EQ(summary.median, 2.5);
  EXPECT_EQ(summary.min, 1);
  EXPECT_EQ(summary.max, 4);
}

// The 95 % interval of the median of 100 values is the 40th to the 61st; ours may be
// wider by a rank on each side.
TEST(StatisticsTest, TheIntervalOfTheMedianHasTheKnownRanks) {
  std::vector<double> values(100);
  std::iota(values.begin(), values.end(), 1.0);
  const Summary summary = summarize(values);
  EXPECT_EQ(summary.median, 50.5);
  EXPECT_GE(summary.low, 39);
  EXPECT_LE(summary.low, 40);
  EXPECT_EQ(summary.low + summary.high, 101);
}

TEST(StatisticsTest, AFasterAndASlowerHalfCancelOut) {
  const double values[] = {2, 0.5};
  EXPECT_DOUBLE_EQ(geometric_mean(values), 1);
}

}  // namespace
}  // namespace vm_bench
