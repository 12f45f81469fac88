#include "bench/harness/lower.h"

#include <gtest/gtest.h>

namespace vm_bench {
namespace {

// A contest whose ratio is `ratio`, whatever its sides do.
NamedContest contest_with(const char* name, double ratio) {
  return {name, {.ours = [](std::size_t) {}, .peer = [](std::size_t) {}, .operations = ratio}};
}

Outcome by_operations(const Contest& contest, const Effort&) {
  return {.ratios = {contest.operations}, .ours_ns = 1, .peer_ns = contest.operations};
}

TEST(LowerTest, TheRowIsTheLowestAndTellsTheOthersInOrder) {
  Session session("some", {});
  const Ratio ratio =
      lower_of(session, "row", "peer",
               {contest_with("b", 2), contest_with("c", 3), contest_with("a", 0.5)}, by_operations);
  EXPECT_EQ(ratio.outcome.ratios, std::vector<double>{0.5});
  EXPECT_EQ(ratio.peer, "peer");
  EXPECT_EQ(ratio.remark, ": a, ours 1.00 ns, theirs 0.50 ns; b 2.00, c 3.00");
}

}  // namespace
}  // namespace vm_bench
