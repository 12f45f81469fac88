#include "bench/harness/contest.h"

#include <gtest/gtest.h>

#include <string>

#include "bench/harness/copy_loops.h"

namespace vm_bench {
namespace {

// Enough work for a clock, little enough for a test.
constexpr Effort kShort = {.rounds = 6,
                           .hot_sample = std::chrono::nanoseconds(1),
                           .cold_sample = std::chrono::nanoseconds(1),
                           .most_rounds = 24,
                           .most_time = std::chrono::hours(1)};

struct Recorder {
  Contest contest(Warmth warmth) {
    return {.ours = [this](std::size_t) { calls += 'o'; },
            .peer = [this](std::size_t) { calls += 'p'; },
            .warmth = warmth};
  }
  std::string calls = "";
};

TEST(ContestTest, EveryRoundRunsBothInAlternatingOrder) {
  Recorder recorder;
  EXPECT_EQ(compare(recorder.contest(Warmth::kCold), kShort).ratios.size(), 6U);
  ASSERT_GE(recorder.calls.size(), 12U);
  EXPECT_EQ(recorder.calls.substr(recorder.calls.size() - 12), "oppooppooppo");
}

TEST(ContestTest, AHotSampleIsWarmedByItsOwnSide) {
  Recorder recorder;
  compare(recorder.contest(Warmth::kHot), kShort);
  ASSERT_GE(recorder.calls.size(), 24U);
  EXPECT_EQ(recorder.calls.substr(recorder.calls.size() - 24), "ooppppooooppppooooppppoo");
}

TEST(ContestTest, SettlingStopsAtTheMostRounds) {
  std::size_t calls = 0;
  // Every second call of ours is long: the rounds do not agree.
  const auto ours = [&calls](std::size_t count) {
    const std::size_t work = ++calls % 2 == 0 ? 100 : 100'000;
    for (std::size_t i = 0; i < count * work; ++i) forget(i);
  };
  const Contest contest = {.ours = ours, .peer = [](std::size_t) {}, .warmth = Warmth::kCold};
  const std::size_t rounds = settle(contest, kShort).ratios.size();
  EXPECT_GE(rounds, 12U);
  EXPECT_LE(rounds, 24U);
}

TEST(ContestTest, CombiningTakesTheGeometricMeanRoundByRound) {
  const Outcome outcomes[] = {{.ratios = {1, 4}, .ours_ns = 1, .peer_ns = 9},
                              {.ratios = {4, 9}, .ours_ns = 4, .peer_ns = 1}};
  const Outcome combined = combine(outcomes);
  ASSERT_EQ(combined.ratios.size(), 2U);
  EXPECT_DOUBLE_EQ(combined.ratios[0], 2);
  EXPECT_DOUBLE_EQ(combined.ratios[1], 6);
  EXPECT_DOUBLE_EQ(combined.ours_ns, 2);
  EXPECT_DOUBLE_EQ(combined.peer_ns, 3);
}

}  // namespace
}  // namespace vm_bench
