// Which policies make sense for a row, and which one it starts with.
#ifndef VM_MEM_INTERNAL_POLICY_RULES_H_
#define VM_MEM_INTERNAL_POLICY_RULES_H_

#include "absl/status/status.h"
#include "vm_mem/copy_policy.h"
#include "vm_mem/internal/copy_kernels.h"

namespace vm_mem::internal {

CopyPolicy default_policy(const CopyKernels& row);

// Errors:  kInvalidArgument names the first field that is wrong, its value and what
//          is allowed.
absl::Status validate_policy(const CopyPolicy& policy, const CopyKernels& row);

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_POLICY_RULES_H_
