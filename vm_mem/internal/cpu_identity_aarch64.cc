#include <cstdlib>
#include <fstream>
#include <string>

#include "absl/strings/str_format.h"
#include "vm_mem/internal/cpu_identity.h"

namespace vm_mem::internal {
namespace {

constexpr std::uint64_t kImplementerArm = 0x41;

}  // namespace

// Source:  Arm ARM, MIDR_EL1: implementer in bits 31-24, variant in 23-20, part in 15-4.
HostCpu decode_midr(std::uint64_t midr) {
  HostCpu cpu;
  cpu.family = static_cast<unsigned>(midr >> 24 & 0xff);
  cpu.model = static_cast<unsigned>(midr >> 4 & 0xfff);
  cpu.stepping = static_cast<unsigned>(midr >> 20 & 0xf);
  cpu.vendor = CpuVendor::kArm;
  cpu.vendor_name = cpu.family == kImplementerArm
                        ? "ARM"
                        : absl::StrFormat("AArch64 implementer 0x%x", cpu.family);
  return cpu;
}

// Source:  Linux, Documentation/ABI/testing/sysfs-devices-system-cpu, midr_el1.
HostCpu detect_host_cpu() {
  std::string text;
  std::ifstream("/sys/devices/system/cpu/cpu0/regs/identification/midr_el1") >> text;
  return with_caches_of_kernel(decode_midr(std::strtoull(text.c_str(), nullptr, 16)));
}

}  // namespace vm_mem::internal
