// Whole files into memory, and the streams that are there from the start.
#ifndef VMRUN_FILE_H_
#define VMRUN_FILE_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace vmrun {

// Larger files are refused: for those that go into guest memory its size is a better limit,
// where it is larger.
inline constexpr std::uint64_t kMostFileBytes = std::uint64_t{1} << 30;

// Errors:  each message is "<path>: <reason>".
//          kUnavailable  the host refused; errno in the text
//          kOutOfRange   larger than `most`
absl::StatusOr<std::string> read_file(const std::string& path, std::uint64_t most = kMostFileBytes);

// Opens each standard stream that the caller has closed, so that it gives and takes
// nothing. Otherwise the next file opened would have its number: the console would be
// written into a disk image.
//
// Needs:  nothing has been opened yet.
void occupy_standard_streams();

}  // namespace vmrun

#endif  // VMRUN_FILE_H_
