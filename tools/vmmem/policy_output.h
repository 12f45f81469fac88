// Writing a policy file without ever leaving half of one, or in place of something else.
#ifndef VMMEM_POLICY_OUTPUT_H_
#define VMMEM_POLICY_OUTPUT_H_

#include <string>

#include "absl/status/status.h"

namespace vmmem {

// "." where the path has none.
std::string folder_of(const std::string& path);

// Errors:  kFailedPrecondition where `path` is there and is neither a policy file nor an
//          empty one; kUnavailable where its folder is missing or cannot be written.
absl::Status check_replaceable(const std::string& path);

// Under a temporary name beside `path`, synchronised, then renamed.
// Errors:  as above, with errno in the message; `path` is as it was.
absl::Status write_policy_file(const std::string& path, const std::string& text);

}  // namespace vmmem

#endif  // VMMEM_POLICY_OUTPUT_H_
