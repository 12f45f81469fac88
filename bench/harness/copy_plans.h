// Which copies to make: tables of sizes and places, drawn with a seed.
#ifndef BENCH_HARNESS_COPY_PLANS_H_
#define BENCH_HARNESS_COPY_PLANS_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <random>
#include <span>
#include <vector>

#include "bench/harness/copy_loops.h"
#include "bench/harness/size_distribution.h"

namespace vm_bench {

using Random = std::mt19937_64;
using SizeSource = std::function<std::size_t(Random&)>;

SizeSource uniform_sizes(std::size_t first, std::size_t last);
SizeSource drawn_sizes(std::span<const SizeShare> shares);

// More entries than a branch predictor remembers.
inline constexpr std::size_t kUnpredictable = 100'000;
// Where copies start: both sides of it stay in an L1 cache.
inline constexpr std::size_t kHotSpan = 16 << 10;

// `count` copies that start anywhere in the first `span` bytes.
std::vector<CopyAt> random_copies(const SizeSource& sizes, std::size_t count, std::size_t span,
                                  std::uint64_t seed);

// Chunks of `n` bytes that fill `span` bytes on each side, each visited once, the
// sources and the destinations in orders of their own.
std::vector<CopyAt> shuffled_chunks(std::size_t n, std::size_t span, std::uint64_t seed);

}  // namespace vm_bench

#endif  // BENCH_HARNESS_COPY_PLANS_H_
