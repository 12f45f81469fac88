#include "bench/harness/branch_sweep.h"

// 32768 branches to the next 16 bytes.
asm(R"(
  .pushsection .text
  .balign 64
vm_bench_branches:
  .rept 32768
  b . + 16
  .skip 12
  .endr
  ret
  .popsection
)");

namespace vm_bench {

void sweep_branches() { asm volatile("bl vm_bench_branches" : : : "memory", "x30"); }

}  // namespace vm_bench
