#include "tools/vmmem/measure.h"

#include <time.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <random>
#include <utility>

namespace vmmem {
namespace {

using Clock = std::chrono::steady_clock;

// Long beside the two system calls that read the clock.
constexpr double kBatchNanoseconds = 40'000;
constexpr std::size_t kMostSkew = 64;
constexpr std::size_t kMostCopies = 1 << 16;
// Parts of the rounds that are summed up on their own.
constexpr std::size_t kRepeats = 5;

// Of this thread's time on a CPU: what others do on it meanwhile does not count.
double thread_nanoseconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e9 + static_cast<double>(now.tv_nsec);
}

void read_all(const std::byte* p, std::size_t n) {
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i + 8 <= n; i += 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, p + i, sizeof word);
    sum += word;
  }
  __asm__ volatile("" : : "r"(sum));
}

template <typename Function>
double batch(Function copy, Buffers& buffers, const Walk& walk, std::size_t copies, After after) {
  std::byte* const dst = buffers.dst();
  const std::byte* const src = buffers.src() + walk.skew;
  std::size_t at = 0;
  const double start = thread_nanoseconds();
  for (std::size_t i = 0; i < copies; ++i) {
    copy(dst + at, src + at, walk.bytes);
    if (after == After::kReadAll) read_all(dst + at, walk.bytes);
    __asm__ volatile("" ::: "memory");
    at += walk.step;
    if (at + walk.bytes > walk.span) at = 0;
  }
  return (thread_nanoseconds() - start) / static_cast<double>(copies);
}

double run_batch(const Contender& contender, Buffers& buffers, const Walk& walk,
                 std::size_t copies) {
  contender.prepare();
  return std::visit([&](auto copy) { return batch(copy, buffers, walk, copies, contender.after); },
                    contender.copy);
}

// The least of a few tries, so that one that was disturbed does not count.
double undisturbed_batch(const Contender& contender, Buffers& buffers, const Walk& walk,
                         std::size_t copies) {
  double least = run_batch(contender, buffers, walk, copies);
  for (int i = 0; i < 2; ++i) least = std::min(least, run_batch(contender, buffers, walk, copies));
  return least * static_cast<double>(copies);
}

std::size_t copies_per_batch(const Contender& contender, Buffers& buffers, const Walk& walk) {
  std::size_t copies = walk.step == 0 ? 1 : walk.span / walk.step;
  while (copies < kMostCopies &&
         undisturbed_batch(contender, buffers, walk, copies) < kBatchNanoseconds / 2) {
    copies *= 2;
  }
  return copies;
}

}  // namespace

Buffers::Buffers(std::size_t bytes)
    : dst_(bytes, std::byte{1}), src_(bytes + kMostSkew, std::byte{2}) {}

Times time_interleaved(const std::vector<Contender>& contenders, Buffers& buffers, const Walk& walk,
                       std::size_t rounds, std::chrono::microseconds time) {
  std::vector<std::size_t> order(contenders.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::vector<std::size_t> copies;
  for (const Contender& contender : contenders) {
    copies.push_back(copies_per_batch(contender, buffers, walk));
  }
  Times times(contenders.size());
  std::minstd_rand random(1);
  const auto end = Clock::now() + time;
  for (std::size_t round = 0; round < rounds || Clock::now() < end; ++round) {
    std::shuffle(order.begin(), order.end(), random);
    for (const std::size_t i : order) {
      times[i].push_back(run_batch(contenders[i], buffers, walk, copies[i]));
    }
  }
  return times;
}

double median_of(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

Spread ratio_of(const std::vector<double>& reference, const std::vector<double>& times) {
  std::vector<double> ratios;
  for (std::size_t i = 0; i < times.size(); ++i) ratios.push_back(reference[i] / times[i]);
  std::vector<double> medians;
  const std::size_t repeats = std::min(kRepeats, ratios.size());
  for (std::size_t repeat = 0; repeat < repeats; ++repeat) {
    std::vector<double> part;
    for (std::size_t i = repeat; i < ratios.size(); i += repeats) part.push_back(ratios[i]);
    medians.push_back(median_of(std::move(part)));
  }
  const auto [least, most] = std::minmax_element(medians.begin(), medians.end());
  return {.median = median_of(ratios), .least = *least, .most = *most};
}

double geometric_mean(const std::vector<double>& values) {
  double logs = 0;
  for (const double value : values) logs += std::log(value);
  return values.empty() ? 1 : std::exp(logs / static_cast<double>(values.size()));
}

}  // namespace vmmem
