#include "bench/harness/suite.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace vm_bench {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

Regime measured(const char* name, int& runs) {
  return {name, [&runs](Session&) {
            ++runs;
            return Ratio{.outcome = {.ratios = {1, 2, 4}}, .peer = "peer"};
          }};
}

std::string output_of(const Options& options, const std::vector<Regime>& regimes) {
  testing::internal::CaptureStdout();
  Session session("some", options);
  EXPECT_EQ(run_suite(session, regimes), 0);
  return testing::internal::GetCapturedStdout();
}

TEST(SuiteTest, ARegimeIsALineWithMedianAndExtremes) {
  int runs = 0;
  EXPECT_EQ(output_of({}, {measured("row", runs)}), "ratio some/row 2.00 (1.00-4.00) vs peer\n");
  EXPECT_EQ(runs, 1);
}

TEST(SuiteTest, WhatLacksItsPeerIsSkippedWithTheReason) {
  int runs = 0;
  Regime regime = measured("row", runs);
  regime.missing = "libpeer is not installed";
  EXPECT_EQ(output_of({}, {regime}), "skip some/row: libpeer is not installed\n");
  EXPECT_EQ(runs, 0);
}

TEST(SuiteTest, WhatIsNotAskedForIsNeitherMeasuredNorSkipped) {
  int runs = 0;
  Regime absent = measured("absent", runs);
  absent.missing = "libpeer is not installed";
  Options options;
  options.only = {"wanted"};
  const std::string output =
      output_of(options, {measured("other", runs), absent, measured("wanted", runs)});
  EXPECT_THAT(output, HasSubstr("some/wanted"));
  EXPECT_THAT(output, Not(HasSubstr("absent")));
  EXPECT_EQ(runs, 1);
}

}  // namespace
}  // namespace vm_bench
