// Two implementations timed against each other in one process, interleaved.
#ifndef BENCH_HARNESS_CONTEST_H_
#define BENCH_HARNESS_CONTEST_H_

#include <chrono>
#include <cstddef>
#include <functional>
#include <span>
#include <vector>

#include "bench/harness/statistics.h"

namespace vm_bench {

// Hot: before each of its samples a side starts with fresh branch predictors and runs
// untimed, so that predictors and caches hold what it left there and not what the other
// did.
enum class Warmth { kHot, kCold };

struct Contest {
  // Does the work `count` times.
  using Run = std::function<void(std::size_t count)>;

  Run ours;
  Run peer;
  double operations = 1;  // in one unit of work: for the figures in ns
  Warmth warmth = Warmth::kHot;
};

// `pass` again and again, as a side of a contest.
template <class Pass>
Contest::Run passes_of(Pass pass) {
  return [pass](std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) pass();
  };
}

struct Effort {
  std::size_t rounds = 31;
  // One sample takes at least this long, with the faster of both sides.
  std::chrono::nanoseconds hot_sample{50'000};
  std::chrono::nanoseconds cold_sample{1'000'000};
  // For settle().
  std::size_t most_rounds = 2000;
  std::chrono::nanoseconds most_time{std::chrono::seconds(4)};
};

struct Outcome {
  std::vector<double> ratios;  // the peer's time / ours, by round
  double ours_ns = 0;          // median, per operation
  double peer_ns = 0;

  Summary summary() const { return summarize(ratios); }
};

// Each round times both sides, in alternating order.
Outcome compare(const Contest& contest, const Effort& effort);

// Measures again, with more and more rounds, until the 95 % interval of the median is
// narrower than 5 % of it, or the effort's limits are reached.
Outcome settle(const Contest& contest, const Effort& effort);

// Several contests as one: the geometric mean of their ratios, round by round.
// Needs: as many rounds in each.
Outcome combine(std::span<const Outcome> outcomes);

}  // namespace vm_bench

#endif  // BENCH_HARNESS_CONTEST_H_
