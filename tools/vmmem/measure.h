// Interleaved timing: every contender in every round, in an order that changes, so that
// what disturbs the machine disturbs all of them.
#ifndef VMMEM_MEASURE_H_
#define VMMEM_MEASURE_H_

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <string>
#include <variant>
#include <vector>

#include "vm_mem/simd_memcpy.h"

namespace vmmem {

// Each is compiled into a timing loop of its own, as a caller would have it there.
struct LibcCopy {
  void operator()(std::byte* dst, const std::byte* src, std::size_t n) const {
    std::memcpy(dst, src, n);
  }
};
struct RawCopy {
  void operator()(std::byte* dst, const std::byte* src, std::size_t n) const {
    vm_mem::memcpy_raw(dst, src, n);
  }
};
struct AdaptiveCopy {
  void operator()(std::byte* dst, const std::byte* src, std::size_t n) const {
    vm_mem::memcpy_adaptive({dst, n}, {src, n});
  }
};
struct StreamCopy {
  void operator()(std::byte* dst, const std::byte* src, std::size_t n) const {
    vm_mem::memcpy_stream(dst, src, n);
  }
};
// Sizes from 1 to `most` that no branch predictor learns, whatever size is asked for.
template <typename Inner>
struct DrawnSizes {
  std::size_t most;

  void operator()(std::byte* dst, const std::byte* src, std::size_t) const {
    static thread_local std::uint32_t state = 1;
    state = state * 1664525 + 1013904223;  // Numerical Recipes' generator
    Inner{}(dst, src, 1 + static_cast<std::size_t>(std::uint64_t{state} * most >> 32));
  }
};
// A row of the core.
using RowCopy = void (*)(std::byte*, const std::byte*, std::size_t);

using Copy = std::variant<LibcCopy, RawCopy, AdaptiveCopy, StreamCopy, DrawnSizes<LibcCopy>,
                          DrawnSizes<AdaptiveCopy>, RowCopy>;

// How the places of one copy follow those of the copy before.
struct Walk {
  std::size_t bytes = 0;  // of one copy
  std::size_t step = 0;   // from one copy to the next; 0: the same place again and again
  std::size_t span = 0;   // where the walk begins anew
  std::size_t skew = 0;   // the source lies so much further on; below 64
};

enum class After : std::uint8_t { kNothing, kReadAll };

struct Contender {
  std::string name;
  Copy copy;
  std::function<void()> prepare = [] {};  // before each of its batches, not timed
  After after = After::kNothing;
};

// Source and destination, touched, for walks of up to `bytes`.
class Buffers {
 public:
  explicit Buffers(std::size_t bytes);
  std::byte* dst() { return dst_.data(); }
  const std::byte* src() const { return src_.data(); }
  std::size_t bytes() const { return dst_.size(); }

 private:
  std::vector<std::byte> dst_;
  std::vector<std::byte> src_;
};

// Nanoseconds per copy: a row for each contender, a column for each round.
using Times = std::vector<std::vector<double>>;

// At least `rounds`, until `time` has passed; each batch lasts 20 microseconds or more.
Times time_interleaved(const std::vector<Contender>& contenders, Buffers& buffers, const Walk& walk,
                       std::size_t rounds, std::chrono::microseconds time);

struct Spread {
  double median = 0;
  double least = 0;
  double most = 0;
};

double median_of(std::vector<double> values);
// The first's times over the second's, round by round: the median of all, and the least
// and the most of the medians of a fifth of the rounds each. So a round in which the
// machine did something else does not count.
Spread ratio_of(const std::vector<double>& reference, const std::vector<double>& times);
double geometric_mean(const std::vector<double>& values);

}  // namespace vmmem

#endif  // VMMEM_MEASURE_H_
