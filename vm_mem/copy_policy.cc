#include "vm_mem/copy_policy.h"

#include "vm_mem/host_cpu.h"
#include "vm_mem/internal/copy_state.h"
#include "vm_mem/internal/policy_defaults.h"
#include "vm_mem/internal/policy_file.h"
#include "vm_mem/internal/policy_rules.h"
#include "vm_mem/internal/startup.h"

namespace vm_mem {
namespace {

absl::Status checked(const CopyPolicy& policy) {
  const auto refusal = internal::refuse_policy(policy, internal::policy_limits());
  return refusal ? absl::InvalidArgumentError(refusal->reason) : absl::OkStatus();
}

}  // namespace

const CopyPolicy& copy_policy() noexcept {
  return *internal::copy_state().policy.load(std::memory_order_acquire);
}

absl::Status set_copy_policy(CopyPolicy policy) {
  internal::copy_state();  // what start-up publishes comes first
  absl::Status status = checked(policy);
  if (status.ok()) internal::publish_policy(policy);
  return status;
}

CopyPolicy default_copy_policy() {
  const internal::CopyKernels* forced = internal::policy_limits().forced_row;
  const internal::CopyKernels& row =
      forced != nullptr ? *forced : internal::row_within(internal::preferred_width(host_cpu()));
  return internal::policy_defaults(host_cpu(), row.vector_width).policy;
}

absl::StatusOr<CopyPolicy> default_copy_policy(std::size_t vector_width) {
  const CopyPolicy policy = internal::policy_defaults(host_cpu(), vector_width).policy;
  absl::Status status = checked(policy);
  if (!status.ok()) return status;
  return policy;
}

CopyPolicyOrigin copy_policy_origin() { return internal::startup().origin; }

std::string copy_policy_text(const CopyPolicy& policy) {
  return internal::format_policy(policy, cpu_identity(host_cpu()));
}

}  // namespace vm_mem
