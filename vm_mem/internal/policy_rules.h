// Which policies make sense on this machine, and which row a policy runs on.
#ifndef VM_MEM_INTERNAL_POLICY_RULES_H_
#define VM_MEM_INTERNAL_POLICY_RULES_H_

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "vm_mem/copy_policy.h"
#include "vm_mem/internal/copy_kernels.h"

namespace vm_mem::internal {

// The best supported row whose lanes are no wider than `vector_width`.
const CopyKernels& row_within(std::size_t vector_width);

// What a policy has to fit.
struct PolicyLimits {
  const CopyKernels* forced_row = nullptr;  // by VM_MEM_ISA; null: any supported one
  bool string_copies = false;               // whether this CPU has ERMS
};

struct PolicyRefusal {
  std::size_t CopyPolicy::*field;
  std::string reason;  // names the field, its value and what is allowed
};

// The first field that is wrong; nullopt: none is.
std::optional<PolicyRefusal> refuse_policy(const CopyPolicy& policy, const PolicyLimits& limits);

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_POLICY_RULES_H_
