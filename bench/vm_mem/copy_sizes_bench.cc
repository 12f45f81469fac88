// One copy again and again, in a place of a kind: every size class and every way in
// which source and destination can lie. The branch predictor knows each size: read
// copy_random_bench beside it.
//
// Names: Copy/<contestant>/<place>/<bytes>

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "bench/harness/page_buffer.h"
#include "bench/vm_mem/contestants.h"

namespace vm_bench {
namespace {

constexpr std::size_t kKiB = 1 << 10;
constexpr std::size_t kMiB = 1 << 20;

enum class Pattern { kZero, kSequential, kRandom };

struct Place {
  const char* name;
  std::size_t dst;
  std::size_t src;
  std::vector<std::size_t> sizes;
  Pattern pattern = Pattern::kZero;
};

const std::vector<std::size_t> kEverySize = {8, 64, 256, 1 * kKiB, 4 * kKiB, 16 * kKiB, 128 * kKiB};

// Half a page apart unless said otherwise. Crossing: the page ends inside the first
// bytes. Aliased: a load has the same place in its page as a store just before it.
const std::vector<Place> kPlaces = {
    {"small", 0, 2048, {1, 2, 3, 4, 7, 8, 12, 16, 24, 31, 32, 48, 64, 96, 128, 192, 256}},
    {"medium", 0, 2048, {512, 768, 1024, 1536, 2048, 3072, 4096}},
    {"large", 0, 2048, {8 * kKiB, 16 * kKiB, 32 * kKiB, 64 * kKiB, 128 * kKiB}},
    {"huge", 0, 2048, {256 * kKiB, kMiB, 4 * kMiB, 16 * kMiB, 64 * kMiB, 256 * kMiB}},
    {"aligned", 64, 2048 + 64, kEverySize},
    {"misaligned", 41, 2048 + 17, kEverySize},
    {"page_crossing", kPage - 3, 2 * kPage - 5, kEverySize},
    {"alias_above", 64, 0, kEverySize},
    {"alias_below", 0, 64, kEverySize},
    {"zeros", 0, 2048, kEverySize, Pattern::kZero},
    {"sequential", 0, 2048, kEverySize, Pattern::kSequential},
    {"random", 0, 2048, kEverySize, Pattern::kRandom},
};

void fill(std::byte* bytes, std::size_t n, Pattern pattern) {
  std::memset(bytes, 0, n);
  if (pattern == Pattern::kZero) return;
  std::uint32_t state = 1;
  for (std::size_t i = 0; i < n; ++i) {
    state = pattern == Pattern::kRandom ? state * 1664525 + 1013904223 : state + (1U << 24);
    bytes[i] = static_cast<std::byte>(state >> 24);
  }
}

void run(benchmark::State& state, CopyFn copy, const Place& place) {
  static PageBuffer dst_memory;
  static PageBuffer src_memory;
  const auto n = static_cast<std::size_t>(state.range(0));
  std::byte* const dst = dst_memory.at_least(place.dst + n) + place.dst;
  std::byte* const src = src_memory.at_least(place.src + n) + place.src;
  const auto offset = [](std::size_t value) { return static_cast<std::uint32_t>(value); };
  if (!checked(state, copy, {offset(place.dst), offset(place.src), offset(n)})) return;
  fill(src, n, place.pattern);
  for (auto _ : state) {
    copy(dst, src, n);
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(state.iterations() * state.range(0));
}

void register_all() {
  for (const Contestant& contestant : contestants()) {
    for (const Place& place : kPlaces) {
      const std::string name = "Copy/" + contestant.name + "/" + place.name;
      auto* benchmark = benchmark::RegisterBenchmark(
          name.c_str(), [&](benchmark::State& state) { run(state, contestant.copy, place); });
      for (const std::size_t n : place.sizes) benchmark->Arg(static_cast<std::int64_t>(n));
    }
  }
}

}  // namespace
}  // namespace vm_bench

int main(int argc, char** argv) {
  vm_bench::register_all();
  return vm_bench::run_benchmarks(argc, argv);
}
