#include "vm_mem/host_cpu.h"

#include "absl/strings/str_format.h"
#include "vm_mem/internal/cpu_identity.h"

namespace vm_mem {

const HostCpu& host_cpu() {
  // Never destroyed: copies run in the destructors of static objects too.
  static const auto* const cpu = new HostCpu(internal::detect_host_cpu());
  return *cpu;
}

std::string cpu_identity(const HostCpu& cpu) {
  return absl::StrFormat("%s (%s family 0x%x model 0x%x)",
                         cpu.brand.empty() ? "unnamed CPU" : cpu.brand, cpu.vendor_name, cpu.family,
                         cpu.model);
}

}  // namespace vm_mem
