// Memory behind a descriptor: what memfds, huge pages and files have in common.
#ifndef VM_MEM_INTERNAL_HOST_MEMORY_DESCRIPTOR_H_
#define VM_MEM_INTERNAL_HOST_MEMORY_DESCRIPTOR_H_

#include <cstddef>
#include <cstdint>
#include <span>

#include "absl/status/status.h"

namespace vm_mem::internal {

struct DescriptorRange {
  int fd = -1;
  std::uint64_t offset = 0;
  std::size_t bytes = 0;
};

struct MapFlags {
  int protection = 0;  // PROT_*
  int flags = 0;       // MAP_*, without MAP_FIXED
};

// Puts the range in the place of `part`, which is as before on an error. Returns errno,
// or 0.
int map_descriptor(std::span<std::byte> part, const DescriptorRange& range, MapFlags how);

// Errors:  those of host_refused().
absl::Status punch_hole(const DescriptorRange& range);
absl::Status allocate_range(const DescriptorRange& range);

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_HOST_MEMORY_DESCRIPTOR_H_
