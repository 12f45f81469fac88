// The file that VM_MEM_POLICY names: measured limits of the copy core.
//
//   vm_mem copy policy 1
//   # comment
//   cpu = "AMD EPYC (AuthenticAMD family 0x1a model 0x2)"
//   stream_min = 4194304
//   prefetch_min = never
//
// The header line comes first. Then one field of CopyPolicy per line, a decimal number
// or `never`, each at most once; blank lines and lines that begin with # are skipped.
// `cpu` names the one CPU that the file is for; without it, it is for any.
#ifndef VM_MEM_INTERNAL_POLICY_FILE_H_
#define VM_MEM_INTERNAL_POLICY_FILE_H_

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "vm_mem/copy_policy.h"

namespace vm_mem::internal {

// One value of a file, and the line that gives it.
struct PolicySetting {
  const CopyPolicyField* field;
  std::size_t value;
  int line;
};

// What a file says.
struct PolicyText {
  std::vector<PolicySetting> settings;

  // The value given for the field; nullopt where there is none.
  std::optional<std::size_t> value(std::size_t CopyPolicy::*field) const;
  // The line that gives the field; the last line that gives any, where none does.
  int line(std::size_t CopyPolicy::*field) const;
  // `defaults` where the file gives nothing.
  CopyPolicy over(CopyPolicy defaults) const;
};

// `cpu`: of this machine, as cpu_identity() gives it.
// Errors:  kInvalidArgument  "<name>:<line>: <reason>"; a file for another CPU too.
absl::StatusOr<PolicyText> parse_policy(std::string_view text, std::string_view name,
                                        std::string_view cpu);

// Errors:  as above; and kInvalidArgument where the file cannot be read (errno in the
//          message), is not a regular file, or is longer than 64 KiB.
absl::StatusOr<PolicyText> read_policy_file(const std::string& path, std::string_view cpu);

// What parse_policy() reads back as `policy` on `cpu`.
std::string format_policy(const CopyPolicy& policy, std::string_view cpu);

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_POLICY_FILE_H_
