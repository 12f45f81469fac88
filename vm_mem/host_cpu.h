// The processor that this process runs on, as far as the copy core cares: who made it,
// which one it is, its caches, and the string instructions that it does well.
#ifndef VM_MEM_HOST_CPU_H_
#define VM_MEM_HOST_CPU_H_

#include <cstddef>
#include <cstdint>
#include <string>

namespace vm_mem {

enum class CpuVendor : std::uint8_t { kOther, kIntel, kAmd, kArm };

// Units:  bytes. 0 where neither the CPU nor the kernel says.
struct CacheSizes {
  std::size_t l1d = 0;
  std::size_t l2 = 0;
  std::size_t l3 = 0;
  std::size_t line = 0;

  friend bool operator==(const CacheSizes&, const CacheSizes&) = default;
};

struct HostCpu {
  CpuVendor vendor = CpuVendor::kOther;
  std::string vendor_name;  // "AuthenticAMD"; "ARM"
  std::string brand;        // "AMD EPYC"; empty where the CPU has none
  unsigned family = 0;      // x86: with the extended parts added; AArch64: implementer
  unsigned model = 0;       // AArch64: part number
  unsigned stepping = 0;
  bool fast_rep_movsb = false;        // ERMS
  bool fast_short_rep_movsb = false;  // FSRM
  std::uint64_t saved_state = 0;      // x86: XCR0, which registers the OS saves
  CacheSizes caches;
};

// Found once, then the same object for ever. Caches are CPU 0's.
const HostCpu& host_cpu();

// One line that tells CPUs of different kinds apart: what a policy file carries, as
// "AMD EPYC (AuthenticAMD family 0x1a model 0x2)".
std::string cpu_identity(const HostCpu& cpu);

}  // namespace vm_mem

#endif  // VM_MEM_HOST_CPU_H_
