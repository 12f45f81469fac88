// Who made this CPU, which one it is and what caches it has.
#ifndef VM_MEM_INTERNAL_CPU_IDENTITY_H_
#define VM_MEM_INTERNAL_CPU_IDENTITY_H_

#include <cstdint>
#include <functional>
#include <string>

#include "vm_mem/host_cpu.h"

namespace vm_mem::internal {

// Asks the CPU and, for what it does not say, the kernel. One file per architecture
// defines it.
HostCpu detect_host_cpu();

struct CpuidLeaf {
  std::uint32_t eax = 0;
  std::uint32_t ebx = 0;
  std::uint32_t ecx = 0;
  std::uint32_t edx = 0;
};

// Gives zeros for a leaf that the CPU does not have.
using CpuidReader = std::function<CpuidLeaf(std::uint32_t leaf, std::uint32_t subleaf)>;

// x86 only. Everything that CPUID says; `saved_state` is XCR0.
// Source:  Intel SDM vol. 2, CPUID, leaves 0, 1, 4 and 7; AMD APM vol. 3, appendix E,
//          Fn8000_0002..6 and Fn8000_001D.
HostCpu decode_x86_cpu(const CpuidReader& read, std::uint64_t saved_state);

// AArch64 only. Of MIDR_EL1: implementer, part number, variant.
HostCpu decode_midr(std::uint64_t midr);

// What is below `folder`, as /sys/devices/system/cpu/cpu0/cache; zeros for what is not.
CacheSizes read_cache_folder(const std::string& folder);

// `cpu` with the caches that it lacks taken from the kernel.
HostCpu with_caches_of_kernel(HostCpu cpu);

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_CPU_IDENTITY_H_
