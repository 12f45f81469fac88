#include "bench/harness/branch_sweep.h"

// 32768 jumps to the next 16 bytes.
asm(R"(
  .pushsection .text
  .balign 64
vm_bench_branches:
  .rept 32768
  .byte 0xeb, 14
  .skip 14, 0x90
  .endr
  ret
  .popsection
)");

namespace vm_bench {

void sweep_branches() {
  // The red zone of this function's caller is not this call's to use.
  asm volatile("sub $128, %%rsp\n call vm_bench_branches\n add $128, %%rsp" : : : "memory", "cc");
}

}  // namespace vm_bench
