// What the host refuses, as a status: the call, the size, errno, and what to change.
#ifndef VM_MEM_INTERNAL_HOST_MEMORY_ERROR_H_
#define VM_MEM_INTERNAL_HOST_MEMORY_ERROR_H_

#include <cstdint>

#include "absl/status/status.h"

namespace vm_mem::internal {

// Errors:  kPermissionDenied   EACCES, EPERM, EROFS
//          kUnimplemented      ENOSYS, EOPNOTSUPP
//          kResourceExhausted  every other errno
absl::Status host_refused(const char* call, std::uint64_t bytes, int error);

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_HOST_MEMORY_ERROR_H_
