#include "vm_mem/copy_policy.h"

#include "vm_mem/internal/copy_state.h"
#include "vm_mem/internal/policy_rules.h"

namespace vm_mem {

const CopyPolicy& copy_policy() noexcept {
  return *internal::copy_state().policy.load(std::memory_order_acquire);
}

absl::Status set_copy_policy(CopyPolicy policy) {
  absl::Status status = internal::validate_policy(policy, internal::active_kernels());
  if (status.ok()) internal::publish_policy(policy);
  return status;
}

}  // namespace vm_mem
