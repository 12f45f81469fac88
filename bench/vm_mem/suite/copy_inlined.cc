// The copy suite's inlined rows: memcpy_adaptive as its users compile it who build for
// x86-64-v4. tools/bench runs this program only on a CPU that has all of it.

#include "bench/vm_mem/suite/candidates.h"
#include "bench/vm_mem/suite/copy_regimes.h"

int main(int argc, char** argv) {
  using namespace vm_bench;
  constexpr Rivals rivals = {&LoopsOf<Adaptive>::kLoops, &LoopsOf<Libc<0>>::kLoops};
  constexpr std::size_t kKiB = 1 << 10;
  Session session = copy_session(argc, argv);
  return run_suite(
      session,
      {
          fleet("fleet_inlined", rivals),
          unpredictable("u32_inlined", rivals, 1, 32),
          unpredictable("u256_inlined", rivals, 1, 256),
          repeated_sizes("fixed_1_63", rivals, every_size(1, 63)),
          repeated_sizes("fixed_64_128", rivals, every_size(64, 128)),
          repeated_sizes("fixed_192_256", rivals, every_size(192, 256)),
          repeated_sizes("fixed_384_2k", rivals, {384, 512, 600, 768, 1000, 1024, 1500, 2048}),
          repeated_sizes("fixed_4k", rivals, {4096}),
          repeated_sizes(
              "hot_8k_512k", rivals,
              {8 * kKiB, 16 * kKiB, 32 * kKiB, 64 * kKiB, 128 * kKiB, 256 * kKiB, 512 * kKiB}),
      });
}
