#include <cpuid.h>

#include "vm_mem/internal/cpu_features.h"

namespace vm_mem::internal {
namespace {

constexpr std::uint32_t kEdxSse2 = 1u << 26;
constexpr std::uint32_t kEcxOsxsave = 1u << 27;
constexpr std::uint32_t kEcxAvx = 1u << 28;
constexpr std::uint32_t kEbxAvx2 = 1u << 5;
constexpr std::uint32_t kEbxErms = 1u << 9;
constexpr std::uint32_t kEdxFsrm = 1u << 4;
// F, DQ, BW, VL, and BMI2, which makes the masks.
constexpr std::uint32_t kEbxAvx512 = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31 | 1u << 8;
constexpr std::uint64_t kXcr0Ymm = 0x06;
constexpr std::uint64_t kXcr0Zmm = 0xe6;

constexpr bool has_all(std::uint64_t value, std::uint64_t bits) { return (value & bits) == bits; }

std::uint64_t read_xcr0() {
  std::uint32_t low = 0;
  std::uint32_t high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return std::uint64_t{high} << 32 | low;
}

}  // namespace

CpuFeatures decode_x86(const X86Registers& registers) {
  const std::uint64_t xcr0 = has_all(registers.leaf1_ecx, kEcxOsxsave) ? registers.xcr0 : 0;
  CpuFeatures found;
  found.sse2 = has_all(registers.leaf1_edx, kEdxSse2);
  found.avx2 = has_all(registers.leaf1_ecx, kEcxAvx) && has_all(registers.leaf7_ebx, kEbxAvx2) &&
               has_all(xcr0, kXcr0Ymm);
  found.avx512 = found.avx2 && has_all(registers.leaf7_ebx, kEbxAvx512) && has_all(xcr0, kXcr0Zmm);
  found.fast_rep_movsb = has_all(registers.leaf7_ebx, kEbxErms);
  found.fast_short_rep_movsb = has_all(registers.leaf7_edx, kEdxFsrm);
  return found;
}

CpuFeatures detect_cpu_features() {
  X86Registers registers;
  std::uint32_t eax = 0;
  std::uint32_t ebx = 0;
  std::uint32_t ecx = 0;
  std::uint32_t edx = 0;
  if (__get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0) {
    registers.leaf1_ecx = ecx;
    registers.leaf1_edx = edx;
  }
  if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) != 0) {
    registers.leaf7_ebx = ebx;
    registers.leaf7_edx = edx;
  }
  registers.xcr0 = saved_state_mask();
  return decode_x86(registers);
}

std::uint64_t saved_state_mask() {
  std::uint32_t eax = 0;
  std::uint32_t ebx = 0;
  std::uint32_t ecx = 0;
  std::uint32_t edx = 0;
  if (__get_cpuid(1, &eax, &ebx, &ecx, &edx) == 0) return 0;
  // XGETBV faults where the OS has not enabled it.
  return has_all(ecx, kEcxOsxsave) ? read_xcr0() : 0;
}

}  // namespace vm_mem::internal
