#include "bench/vm_mem/suite/worst_points.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstddef>

#include "bench/harness/copy_plans.h"
#include "bench/harness/machine.h"
#include "bench/harness/page_buffer.h"

namespace vm_bench {
namespace {

constexpr std::size_t kMiB = std::size_t{1} << 20;
constexpr std::size_t kFixed[] = {
    1,     2,      3,      4,      5,    6,        7,        8,        12,       15,    16,
    17,    24,     31,     32,     33,   48,       63,       64,       65,       96,    127,
    128,   129,    192,    255,    256,  300,      384,      512,      600,      768,   1000,
    1024,  1500,   2048,   3000,   4096, 6000,     8192,     16384,    20000,    24576, 32768,
    65536, 131072, 262144, 524288, kMiB, 2 * kMiB, 4 * kMiB, 8 * kMiB, 16 * kMiB};
constexpr std::size_t kAtPages[] = {1,  2,  3,  4,  6,  8,  12,  15,  16,  24,
                                    31, 32, 33, 48, 63, 64, 128, 256, 1024};
constexpr std::size_t kLoadedBack[] = {1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 256};
constexpr std::size_t kLoadedBackUpTo[] = {64, 256};
constexpr std::size_t kChunks[] = {512, 1024, 2048, 4096, 8192, 16384, 65536};

// Neither side at the start of a cache line, nor both at the same place in it.
constexpr Placement kMisaligned = {.dst = 41, .src = 2048 + 17};
constexpr std::size_t kChaseLength = 2000;

void add_fixed(std::vector<Point>& points, std::string name, std::size_t n, Placement placement) {
  points.push_back({std::move(name),
                    [=](Rivals rivals, std::uint64_t) { return repeated(rivals, n, placement); }});
}

void add_page_points(std::vector<Point>& points, std::size_t n) {
  add_fixed(points, fmt::format("page/crossing/{}", n), n,
            {.dst = 2 * kPage - (n + 1) / 2, .src = kPage - n / 2});
  add_fixed(points, fmt::format("page/end/{}", n), n, {.dst = 2 * kPage - n, .src = kPage - n});
}

void add_load_back(std::vector<Point>& points, std::size_t n) {
  points.push_back({fmt::format("load_back/{}", n), [=](Rivals rivals, std::uint64_t) {
                      const auto bytes = static_cast<std::uint32_t>(n);
                      return chased(rivals, std::vector(kChaseLength, CopyAt{64, 64, bytes}));
                    }});
}

void add_random_load_back(std::vector<Point>& points, std::size_t last) {
  points.push_back({fmt::format("load_back/1-{}", last), [=](Rivals rivals, std::uint64_t seed) {
                      return chased(
                          rivals, random_copies(uniform_sizes(1, last), kUnpredictable, 64, seed));
                    }});
}

using MakeContest = Contest (*)(Rivals rivals, std::vector<CopyAt> copies);

void add_chunks(std::vector<Point>& points, const char* level, std::size_t span,
                MakeContest contest) {
  for (const std::size_t n : kChunks) {
    points.push_back({fmt::format("{}/{}", level, n), [=](Rivals rivals, std::uint64_t seed) {
                        return contest(rivals, shuffled_chunks(n, span, seed));
                      }});
  }
}

}  // namespace

std::vector<Point> worst_points() {
  std::vector<Point> points;
  for (const std::size_t n : kFixed) add_fixed(points, fmt::format("fixed/aligned/{}", n), n, {});
  for (const std::size_t n : kFixed) {
    add_fixed(points, fmt::format("fixed/misaligned/{}", n), n, kMisaligned);
  }
  for (const std::size_t n : kAtPages) add_page_points(points, n);
  for (const std::size_t n : kLoadedBack) add_load_back(points, n);
  for (const std::size_t last : kLoadedBackUpTo) add_random_load_back(points, last);
  add_chunks(points, "L2", l2_bytes() / 3, walked);
  add_chunks(points, "L3", std::min(l3_bytes() / 5, 6 * kMiB), walked);
  add_chunks(points, "DRAM", beyond_caches_bytes(), cold_walked);
  return points;
}

}  // namespace vm_bench
