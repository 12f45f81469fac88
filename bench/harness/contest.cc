#include "bench/harness/contest.h"

#include <time.h>

#include <algorithm>
#include <cmath>

#include "bench/harness/branch_sweep.h"

namespace vm_bench {
namespace {

using Clock = std::chrono::steady_clock;
using Nanoseconds = std::chrono::duration<double, std::nano>;

// The time that this thread was on a CPU: another program's turn is not this copy's.
double cpu_ns() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e9 + static_cast<double>(now.tv_nsec);
}

double time_of(const Contest::Run& run, std::size_t count) {
  const double begin = cpu_ns();
  run(count);
  return std::max(cpu_ns() - begin, 1.0);
}

// How much work makes a sample long enough for the faster side.
std::size_t calibrate(const Contest& contest, double wanted_ns) {
  std::size_t count = 1;
  for (;;) {
    contest.ours(count);
    contest.peer(count);
    const double faster = std::min(time_of(contest.ours, count), time_of(contest.peer, count));
    if (faster >= wanted_ns) return count;
    const double growth = std::clamp(1.2 * wanted_ns / faster, 1.2, 16.0);
    count = static_cast<std::size_t>(std::ceil(static_cast<double>(count) * growth));
  }
}

double sample(const Contest& contest, const Contest::Run& run, std::size_t count) {
  if (contest.warmth == Warmth::kHot) {
    sweep_branches();
    run(std::max<std::size_t>(1, count / 4));
  }
  return time_of(run, count);
}

struct Samples {
  std::vector<double> ours;
  std::vector<double> peer;
};

void take_round(const Contest& contest, std::size_t count, Samples& samples) {
  const bool ours_first = samples.ours.size() % 2 == 0;
  if (ours_first) samples.ours.push_back(sample(contest, contest.ours, count));
  samples.peer.push_back(sample(contest, contest.peer, count));
  if (!ours_first) samples.ours.push_back(sample(contest, contest.ours, count));
}

Outcome outcome_of(const Contest& contest, std::size_t count, const Samples& samples) {
  Outcome outcome;
  for (std::size_t i = 0; i < samples.ours.size(); ++i) {
    outcome.ratios.push_back(samples.peer[i] / samples.ours[i]);
  }
  const double operations = contest.operations * static_cast<double>(count);
  outcome.ours_ns = summarize(samples.ours).median / operations;
  outcome.peer_ns = summarize(samples.peer).median / operations;
  return outcome;
}

std::size_t calibrate(const Contest& contest, const Effort& effort) {
  const bool hot = contest.warmth == Warmth::kHot;
  return calibrate(contest, Nanoseconds(hot ? effort.hot_sample : effort.cold_sample).count());
}

bool settled(const Outcome& outcome) {
  const Summary summary = outcome.summary();
  return summary.high - summary.low < 0.05 * summary.median;
}

}  // namespace

Outcome compare(const Contest& contest, const Effort& effort) {
  const std::size_t count = calibrate(contest, effort);
  Samples samples;
  for (std::size_t i = 0; i < effort.rounds; ++i) take_round(contest, count, samples);
  return outcome_of(contest, count, samples);
}

Outcome settle(const Contest& contest, const Effort& effort) {
  const std::size_t count = calibrate(contest, effort);
  const Clock::time_point end = Clock::now() + effort.most_time;
  Samples samples;
  for (std::size_t wanted = 2 * effort.rounds;; wanted *= 2) {
    while (samples.ours.size() < wanted) take_round(contest, count, samples);
    const Outcome outcome = outcome_of(contest, count, samples);
    if (settled(outcome) || wanted >= effort.most_rounds || Clock::now() >= end) return outcome;
  }
}

Outcome combine(std::span<const Outcome> outcomes) {
  const auto mean_of = [outcomes](auto value_of) {
    std::vector<double> values;
    for (const Outcome& outcome : outcomes) values.push_back(value_of(outcome));
    return geometric_mean(values);
  };
  Outcome combined;
  for (std::size_t i = 0; i < outcomes.front().ratios.size(); ++i) {
    combined.ratios.push_back(mean_of([i](const Outcome& outcome) { return outcome.ratios[i]; }));
  }
  combined.ours_ns = mean_of([](const Outcome& outcome) { return outcome.ours_ns; });
  combined.peer_ns = mean_of([](const Outcome& outcome) { return outcome.peer_ns; });
  return combined;
}

}  // namespace vm_bench
