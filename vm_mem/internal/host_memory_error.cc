#include "vm_mem/internal/host_memory_error.h"

#include <cerrno>

#include "absl/strings/str_format.h"

namespace vm_mem::internal {
namespace {

absl::StatusCode code_of(int error) {
  switch (error) {
    case EACCES:
    case EPERM:
    case EROFS: return absl::StatusCode::kPermissionDenied;
    case ENOSYS:
    case EOPNOTSUPP: return absl::StatusCode::kUnimplemented;
    default: return absl::StatusCode::kResourceExhausted;
  }
}

const char* hint_of(int error) {
  switch (error) {
    case ENOMEM:
      return ": no memory left, or a limit is reached: mappings of the process "
             "(/proc/sys/vm/max_map_count), address space (ulimit -v), "
             "/proc/sys/vm/overcommit_memory";
    case EMFILE: return ": too many open files (ulimit -n)";
    case ENFILE: return ": too many open files on the host (/proc/sys/fs/file-max)";
    case ENOSPC: return ": the file system is full";
    case EDQUOT: return ": the quota of the file system is used up";
    case EFBIG: return ": larger than the file system or ulimit -f allows";
    default: return "";
  }
}

}  // namespace

absl::Status host_refused(const char* call, std::uint64_t bytes, int error) {
  return absl::Status(code_of(error), absl::StrFormat("%s of 0x%x bytes failed: errno %d%s", call,
                                                      bytes, error, hint_of(error)));
}

}  // namespace vm_mem::internal
