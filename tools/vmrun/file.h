// Whole files into memory and out of it.
#ifndef VMRUN_FILE_H_
#define VMRUN_FILE_H_

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace vmrun {

// Firmware and scripts larger than this are refused.
inline constexpr std::size_t kMostFileBytes = std::size_t{1} << 30;

// Errors:  each message is "<path>: <reason>".
//          kUnavailable  the host refused; errno in the text
//          kOutOfRange   too large
absl::StatusOr<std::string> read_file(const std::string& path);
absl::Status write_file(const std::string& path, std::string_view content);

}  // namespace vmrun

#endif  // VMRUN_FILE_H_
