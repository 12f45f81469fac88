// Copies whose bytes wait in L2, in L3 or in memory: a walk in random order through
// chunks of one size that fill a part of that cache, or far more than all of them.
//
// Names: Copy/<contestant>/<L2, L3 or DRAM>/<bytes>

#include <algorithm>
#include <string>
#include <vector>

#include "bench/harness/copy_plans.h"
#include "bench/harness/machine.h"
#include "bench/harness/page_buffer.h"
#include "bench/vm_mem/contestants.h"

namespace vm_bench {
namespace {

constexpr std::uint64_t kSeed = 1;
constexpr std::size_t kMiB = 1 << 20;

void run(benchmark::State& state, CopyFn copy, std::size_t span) {
  static PageBuffer dst_memory;
  static PageBuffer src_memory;
  const auto n = static_cast<std::size_t>(state.range(0));
  const std::vector<CopyAt> copies = shuffled_chunks(n, span, kSeed);
  std::byte* const dst = dst_memory.at_least(span + n);
  std::byte* const src = src_memory.at_least(span + n);
  if (!checked(state, copy, copies.front())) return;
  std::size_t next = 0;
  for (auto _ : state) {
    copy(dst + copies[next].dst, src + copies[next].src, n);
    benchmark::ClobberMemory();
    next = next + 1 == copies.size() ? 0 : next + 1;
  }
  state.SetBytesProcessed(state.iterations() * state.range(0));
}

void register_level(const char* level, std::size_t span) {
  for (const Contestant& contestant : contestants()) {
    const std::string name = "Copy/" + contestant.name + "/" + level;
    auto* benchmark = benchmark::RegisterBenchmark(
        name.c_str(),
        [span, &contestant](benchmark::State& state) { run(state, contestant.copy, span); });
    for (std::int64_t n = 64; n <= 65536; n *= 4) benchmark->Arg(n);
  }
}

}  // namespace
}  // namespace vm_bench

int main(int argc, char** argv) {
  using namespace vm_bench;
  register_level("L2", l2_bytes() / 3);
  register_level("L3", std::min(l3_bytes() / 5, 6 * kMiB));
  register_level("DRAM", beyond_caches_bytes());
  return run_benchmarks(argc, argv);
}
