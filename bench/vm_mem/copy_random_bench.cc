// Copies of sizes that the CPU cannot predict: uniform ranges, and sizes drawn from a
// file. Seeded: each contestant gets the same copies in every run.
//
//   copy_random_bench [--sizes FILE]    the format: bench/harness/size_distribution.h
//
// Names: Copy/<contestant>/mix/<1-last, fleet, or file>

#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "bench/harness/copy_plans.h"
#include "bench/harness/page_buffer.h"
#include "bench/vm_mem/contestants.h"

namespace vm_bench {
namespace {

constexpr std::uint64_t kSeed = 1;

void run(benchmark::State& state, CopyFn copy, const std::vector<CopyAt>& copies) {
  static PageBuffer dst_memory;
  static PageBuffer src_memory;
  std::byte* const dst = dst_memory.at_least(kHotSpan + kLargestSize);
  std::byte* const src = src_memory.at_least(kHotSpan + kLargestSize);
  for (std::size_t i = 0; i < copies.size(); i += copies.size() / 64) {
    if (!checked(state, copy, copies[i])) return;
  }
  std::size_t next = 0;
  std::int64_t bytes = 0;
  for (auto _ : state) {
    const CopyAt& at = copies[next];
    copy(dst + at.dst, src + at.src, at.bytes);
    benchmark::ClobberMemory();
    bytes += at.bytes;
    next = next + 1 == copies.size() ? 0 : next + 1;
  }
  state.SetBytesProcessed(bytes);
}

void register_mix(const std::string& mix, const SizeSource& sizes) {
  const auto copies = std::make_shared<const std::vector<CopyAt>>(
      random_copies(sizes, kUnpredictable, kHotSpan, kSeed));
  for (const Contestant& contestant : contestants()) {
    const std::string name = "Copy/" + contestant.name + "/mix/" + mix;
    benchmark::RegisterBenchmark(name.c_str(), [copies, &contestant](benchmark::State& state) {
      run(state, contestant.copy, *copies);
    });
  }
}

// Takes --sizes FILE out of the command line; Google Benchmark does not know it.
std::string take_sizes(int& argc, char** argv) {
  std::string path = VM_BENCH_FLEET_SIZES;
  if (argc < 3 || std::strcmp(argv[1], "--sizes") != 0) return path;
  path = argv[2];
  for (int i = 3; i <= argc; ++i) argv[i - 2] = argv[i];
  argc -= 2;
  return path;
}

}  // namespace
}  // namespace vm_bench

int main(int argc, char** argv) {
  using namespace vm_bench;
  const std::string path = take_sizes(argc, argv);
  const auto sizes = read_sizes(path);
  if (!sizes.ok()) {
    std::fprintf(stderr, "%s\n", std::string(sizes.status().message()).c_str());
    return 2;
  }
  for (const std::size_t last : std::vector<std::size_t>{16, 32, 64, 256, 1024, 4096}) {
    register_mix("1-" + std::to_string(last), uniform_sizes(1, last));
  }
  register_mix(path == VM_BENCH_FLEET_SIZES ? "fleet" : "file", drawn_sizes(*sizes));
  return run_benchmarks(argc, argv);
}
