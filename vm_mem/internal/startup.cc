#include "vm_mem/internal/startup.h"

#include <cstdlib>

#include "absl/strings/str_format.h"
#include "vm_mem/internal/policy_file.h"
#include "vm_mem/internal/policy_rules.h"

namespace vm_mem::internal {
namespace {

std::string supported_names() {
  std::string names;
  for (const CopyKernels* row : built_copy_kernels()) {
    if (!row->supported()) continue;
    if (!names.empty()) names += ", ";
    names += row->isa;
  }
  return names;
}

const CopyKernels* best_row() {
  for (const CopyKernels* row : built_copy_kernels()) {
    if (row->supported()) return row;
  }
  return &kScalarKernels;
}

absl::Status force_row(const std::string& isa, Startup& startup) {
  for (const CopyKernels* row : built_copy_kernels()) {
    if (row->isa != isa || !row->supported()) continue;
    startup.row = row;
    startup.choice = RowChoice::kForced;
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrFormat("VM_MEM_ISA=%s: not a row of this CPU and operating system; want one of %s",
                      isa, supported_names()));
}

absl::Status take_policy_file(const std::string& path, Startup& startup) {
  const auto policy = read_policy_file(path, startup.policy);
  if (!policy.ok()) {
    return absl::InvalidArgumentError(
        absl::StrFormat("VM_MEM_POLICY: %s", std::string(policy.status().message())));
  }
  const absl::Status valid = validate_policy(*policy, *startup.row);
  if (!valid.ok()) {
    return absl::InvalidArgumentError(
        absl::StrFormat("VM_MEM_POLICY: %s: %s", path, std::string(valid.message())));
  }
  startup.policy = *policy;
  return absl::OkStatus();
}

absl::Status both(const absl::Status& first, const absl::Status& second) {
  if (first.ok()) return second;
  if (second.ok()) return first;
  return absl::InvalidArgumentError(
      absl::StrFormat("%s; %s", std::string(first.message()), std::string(second.message())));
}

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

}  // namespace

Startup decide_startup(const std::string& isa, const std::string& policy_path) {
  Startup startup;
  startup.row = best_row();
  const absl::Status isa_status = isa.empty() ? absl::OkStatus() : force_row(isa, startup);
  startup.policy = default_policy(*startup.row);
  const absl::Status policy_status =
      policy_path.empty() ? absl::OkStatus() : take_policy_file(policy_path, startup);
  startup.status = both(isa_status, policy_status);
  return startup;
}

const Startup& startup() {
  // Never destroyed: copies run in the destructors of static objects too.
  static const auto* const decided =
      new Startup(decide_startup(environment("VM_MEM_ISA"), environment("VM_MEM_POLICY")));
  return *decided;
}

}  // namespace vm_mem::internal
