#include "vm_mem/internal/startup.h"

#include <cstdlib>
#include <utility>

#include "absl/strings/str_format.h"
#include "vm_mem/internal/host_instructions.h"
#include "vm_mem/internal/policy_defaults.h"
#include "vm_mem/internal/policy_file.h"

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

PolicyLimits limits_of(const Startup& startup) {
  return {.forced_row = startup.choice == RowChoice::kForced ? startup.row : nullptr,
          .string_copies = has_string_copy()};
}

void take_defaults(std::size_t vector_width, Startup& startup) {
  if (startup.choice != RowChoice::kForced) startup.row = &row_within(vector_width);
  const PolicyDefaults defaults = policy_defaults(host_cpu(), startup.row->vector_width);
  startup.policy = defaults.policy;
  startup.origin = {.defaults = defaults.name, .file = {}, .file_fields = {}};
}

// The limits that the file leaves out are those of the row that it asks for.
absl::Status take_policy_file(const std::string& path, Startup& startup) {
  const auto text = read_policy_file(path, cpu_identity(host_cpu()));
  if (!text.ok()) {
    return absl::InvalidArgumentError(
        absl::StrFormat("VM_MEM_POLICY: %s", std::string(text.status().message())));
  }
  Startup wanted = startup;
  take_defaults(text->value(&CopyPolicy::vector_width).value_or(startup.row->vector_width), wanted);
  wanted.policy = text->over(wanted.policy);
  if (const auto refusal = refuse_policy(wanted.policy, limits_of(startup))) {
    return absl::InvalidArgumentError(absl::StrFormat("VM_MEM_POLICY: %s:%d: %s", path,
                                                      text->line(refusal->field), refusal->reason));
  }
  wanted.origin.file = path;
  for (const PolicySetting& setting : text->settings) {
    wanted.origin.file_fields.push_back(setting.field->name);
  }
  startup = std::move(wanted);
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
  const absl::Status isa_status = isa.empty() ? absl::OkStatus() : force_row(isa, startup);
  take_defaults(preferred_width(host_cpu()), startup);
  const absl::Status policy_status =
      policy_path.empty() ? absl::OkStatus() : take_policy_file(policy_path, startup);
  if (startup.choice != RowChoice::kForced && startup.row != &row_within(kNever)) {
    startup.choice = RowChoice::kNarrower;
  }
  startup.status = both(isa_status, policy_status);
  return startup;
}

const Startup& startup() {
  // Never destroyed: copies run in the destructors of static objects too.
  static const auto* const decided =
      new Startup(decide_startup(environment("VM_MEM_ISA"), environment("VM_MEM_POLICY")));
  return *decided;
}

PolicyLimits policy_limits() { return limits_of(startup()); }

const CopyKernels& row_for(const CopyPolicy& policy) {
  const CopyKernels* forced = policy_limits().forced_row;
  return forced != nullptr ? *forced : row_within(policy.vector_width);
}

}  // namespace vm_mem::internal
