// The file that VM_MEM_POLICY names: measured limits of the copy core.
//
//   vm_mem copy policy 1
//   # comment
//   stream_min = 4194304
//
// The header line comes first. Then one field of CopyPolicy per line, decimal, each
// at most once; blank lines and lines that begin with # are skipped.
#ifndef VM_MEM_INTERNAL_POLICY_FILE_H_
#define VM_MEM_INTERNAL_POLICY_FILE_H_

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "vm_mem/copy_policy.h"

namespace vm_mem::internal {

// Errors:  kInvalidArgument  "<name>:<line>: <reason>". Fields that `text` leaves out
//          keep their value in `defaults`. The result is not validated further.
absl::StatusOr<CopyPolicy> parse_policy(std::string_view text, std::string_view name,
                                        CopyPolicy defaults);

// Errors:  as above; and kInvalidArgument where the file cannot be read (errno in the
//          message), is not a regular file, or is longer than 64 KiB.
absl::StatusOr<CopyPolicy> read_policy_file(const std::string& path, CopyPolicy defaults);

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_POLICY_FILE_H_
