// The copy suite's called rows: the entry points of the library as it is built by
// default, against libc.

#include "bench/vm_mem/suite/candidates.h"
#include "bench/vm_mem/suite/copy_regimes.h"
#include "bench/vm_mem/suite/scans.h"
#include "bench/vm_mem/suite/worst.h"

namespace vm_bench {
namespace {

constexpr Rivals kRaw = {&LoopsOf<Raw>::kLoops, &LoopsOf<Libc<0>>::kLoops};
constexpr Rivals kAdaptive = {&LoopsOf<Adaptive>::kLoops, &LoopsOf<Libc<0>>::kLoops};
constexpr Rivals kStream = {&LoopsOf<Stream>::kLoops, &LoopsOf<Libc<0>>::kLoops};
constexpr std::size_t kKiB = 1 << 10;
constexpr std::size_t kMiB = 1 << 20;

std::vector<Regime> regimes() {
  return {
      fleet("fleet_called", kRaw),
      unpredictable("u256_called", kRaw, 1, 256),
      unpredictable("u1024", kRaw, 1, 1024),
      unpredictable("u4096", kRaw, 1, 4096),
      repeated_sizes("hot_1m", kAdaptive, {kMiB}),
      repeated_sizes("hot_2m_16m", kAdaptive, {2 * kMiB, 4 * kMiB, 8 * kMiB, 16 * kMiB}),
      repeated_sizes("hot_64m", kAdaptive, {64 * kMiB}),
      cold_chunks("stream_64k", kStream, 64 * kKiB),
      cold_chunks("stream_256k", kStream, 256 * kKiB),
      cold_chunks("stream_1m", kStream, kMiB),
      cold_chunks("stream_4m", kStream, 4 * kMiB),
      large_fills("memset_16m"),
      zero_page("zero_4k"),
      equal_buffers("equal"),
      worst("worst", *kRaw.ours, *kRaw.peer, LoopsOf<Libc<1>>::kLoops),
  };
}

}  // namespace
}  // namespace vm_bench

int main(int argc, char** argv) {
  vm_bench::Session session = vm_bench::copy_session(argc, argv);
  return vm_bench::run_suite(session, vm_bench::regimes());
}
