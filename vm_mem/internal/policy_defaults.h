// Which limits a CPU starts with: a table of what was measured or published.
#ifndef VM_MEM_INTERNAL_POLICY_DEFAULTS_H_
#define VM_MEM_INTERNAL_POLICY_DEFAULTS_H_

#include <string_view>

#include "vm_mem/copy_policy.h"
#include "vm_mem/host_cpu.h"

namespace vm_mem::internal {

struct PolicyDefaults {
  std::string_view name;  // the CPUs that they are for
  CopyPolicy policy;
};

// `vector_width`: of the row.
PolicyDefaults policy_defaults(const HostCpu& cpu, std::size_t vector_width);

// The widest lanes that pay on this CPU, whatever it supports: 32 bytes where wider
// ones lower the clock.
std::size_t preferred_width(const HostCpu& cpu);

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_POLICY_DEFAULTS_H_
