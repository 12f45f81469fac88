// Applies HostMemoryOptions to memory that has just been mapped.
#ifndef VM_MEM_INTERNAL_HOST_MEMORY_ADVICE_H_
#define VM_MEM_INTERNAL_HOST_MEMORY_ADVICE_H_

#include <cstddef>
#include <span>

#include "absl/status/status.h"
#include "vm_mem/host_memory_options.h"
#include "vm_mem/internal/host_memory_source.h"

namespace vm_mem::internal {

// What can be refused before anything is mapped.
//
// Errors:  kInvalidArgument.
absl::Status check_options(const HostMemoryOptions& options, const PageTraits& traits);

// Memory of the caller's takes prefault alone.
//
// Errors:  kInvalidArgument.
absl::Status check_caller_owned(const HostMemoryOptions& options);

// Placement and advice first, then the pages, then the lock.
//
// Needs:   check_options() is ok; `part` is mapped from `source` at `offset`.
// Errors:  those of HostMemoryOptions; some options may have been applied.
absl::Status apply_options(std::span<std::byte> part, std::size_t offset, const PageSource& source,
                           const HostMemoryOptions& options);

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_HOST_MEMORY_ADVICE_H_
