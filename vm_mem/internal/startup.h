// What the environment asks of the copy core, and what it gets.
#ifndef VM_MEM_INTERNAL_STARTUP_H_
#define VM_MEM_INTERNAL_STARTUP_H_

#include <string>

#include "absl/status/status.h"
#include "vm_mem/copy_policy.h"
#include "vm_mem/copy_rows.h"
#include "vm_mem/internal/copy_kernels.h"
#include "vm_mem/internal/policy_rules.h"

namespace vm_mem::internal {

struct Startup {
  const CopyKernels* row = nullptr;
  RowChoice choice = RowChoice::kBest;
  CopyPolicy policy;
  CopyPolicyOrigin origin;
  absl::Status status;
};

// `isa` and `policy_path` are the values of VM_MEM_ISA and VM_MEM_POLICY; empty is as
// unset.
//
// Errors:  in `status`, kInvalidArgument: an ISA that is unknown or not supported here
//          (the best row stands), a policy file that is refused (the defaults stand),
//          or both, in one message.
Startup decide_startup(const std::string& isa, const std::string& policy_path);

// The decision for this process's environment, made once.
const Startup& startup();

// What a policy for this process has to fit.
PolicyLimits policy_limits();

// The row that a valid policy runs on.
const CopyKernels& row_for(const CopyPolicy& policy);

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_STARTUP_H_
