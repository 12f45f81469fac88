// What this CPU offers and this operating system lets a program use.
#ifndef VM_MEM_INTERNAL_CPU_FEATURES_H_
#define VM_MEM_INTERNAL_CPU_FEATURES_H_

#include <cstdint>

namespace vm_mem::internal {

struct CpuFeatures {
  bool sse2 = false;
  bool avx2 = false;
  bool avx512 = false;  // F, BW, DQ and VL, beside BMI2
  bool neon = false;
  bool sve = false;
  bool fast_rep_movsb = false;        // ERMS
  bool fast_short_rep_movsb = false;  // FSRM

  friend bool operator==(const CpuFeatures&, const CpuFeatures&) = default;
};

// Found once, then one load of an atomic.
CpuFeatures cpu_features();

// Asks the CPU. One file per architecture defines it.
CpuFeatures detect_cpu_features();

// The registers of x86 that the answer depends on.
struct X86Registers {
  std::uint32_t leaf1_ecx = 0;
  std::uint32_t leaf1_edx = 0;
  std::uint32_t leaf7_ebx = 0;
  std::uint32_t leaf7_edx = 0;
  std::uint64_t xcr0 = 0;  // 0 where XGETBV is not enabled
};

// x86 only. XCR0: which registers the OS saves; 0 where XGETBV is not enabled.
std::uint64_t saved_state_mask();

// x86 only.
// Source:  Intel SDM vol. 1, 14.3 and 15.2: a vector feature needs its CPUID bit, and
//          the OS to save the registers: XCR0 bits 1-2 (YMM), 5-7 (masks and ZMM).
CpuFeatures decode_x86(const X86Registers& registers);

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_CPU_FEATURES_H_
