// The host's huge pages: which sizes it has, and how many are free.
#ifndef VM_MEM_INTERNAL_HOST_MEMORY_HUGE_H_
#define VM_MEM_INTERNAL_HOST_MEMORY_HUGE_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"

namespace vm_mem::internal {

// Errors:  kInvalidArgument  not a power of two above the host's page size
//          kUnimplemented    the host has no huge pages of that size
absl::Status check_huge_page_size(std::uint64_t huge_page_bytes);

struct HugePagePool {
  std::uint64_t total_pages = 0;
  std::uint64_t available_pages = 0;  // neither used nor set aside for a mapping
};

// nullopt where the host does not tell.
std::optional<HugePagePool> huge_page_pool(std::uint64_t huge_page_bytes);

// What to write to so that the pool grows.
std::string huge_page_file(std::uint64_t huge_page_bytes);

// That `bytes` were asked of a pool that had not that many: `error` is errno.
absl::Status huge_page_pool_refused(std::uint64_t bytes, std::uint64_t huge_page_bytes, int error);

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_HOST_MEMORY_HUGE_H_
