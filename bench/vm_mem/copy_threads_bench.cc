// The same copies on one thread and on two, each in memory of its own: what they share
// is the last cache and the way to memory. Read the rate, which is of all threads.
//
// Names: Copy/<contestant>/threads/<bytes>/real_time/threads:<1 or 2>

#include <string>

#include "bench/harness/page_buffer.h"
#include "bench/vm_mem/contestants.h"

namespace vm_bench {
namespace {

void run(benchmark::State& state, CopyFn copy) {
  const auto n = static_cast<std::size_t>(state.range(0));
  PageBuffer dst_memory;
  PageBuffer src_memory;
  std::byte* const dst = dst_memory.at_least(n);
  std::byte* const src = src_memory.at_least(2048 + n) + 2048;
  for (auto _ : state) {
    copy(dst, src, n);
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(state.iterations() * state.range(0));
}

// The checks have buffers that threads cannot share: they are made here, before any.
void register_checked(const Contestant& contestant) {
  const std::string name = "Copy/" + contestant.name + "/threads";
  auto* benchmark = benchmark::RegisterBenchmark(
      name.c_str(), [&contestant](benchmark::State& state) { run(state, contestant.copy); });
  for (std::uint32_t n = 4096; n <= std::uint32_t{64} << 20; n *= 8) {
    if (copies_exactly(contestant.copy, {0, 2048, n})) benchmark->Arg(n);
  }
  benchmark->ThreadRange(1, 2)->UseRealTime();
}

}  // namespace
}  // namespace vm_bench

int main(int argc, char** argv) {
  for (const vm_bench::Contestant& contestant : vm_bench::contestants()) {
    vm_bench::register_checked(contestant);
  }
  return vm_bench::run_benchmarks(argc, argv);
}
