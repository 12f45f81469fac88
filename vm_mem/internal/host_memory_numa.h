// Which of the host's NUMA nodes the pages of a mapping come from.
#ifndef VM_MEM_INTERNAL_HOST_MEMORY_NUMA_H_
#define VM_MEM_INTERNAL_HOST_MEMORY_NUMA_H_

#include <cstddef>
#include <cstdint>
#include <span>

#include "absl/status/status.h"
#include "vm_mem/host_memory_options.h"

namespace vm_mem::internal {

// Errors:  kInvalidArgument  nodes without a policy, or the reverse
absl::Status check_nodes(NumaPolicy policy, std::span<const std::uint32_t> nodes);

// Needs:   check_nodes() is ok; no page of `part` is present.
// Errors:  kInvalidArgument   the host has no such node online
//          kPermissionDenied  a sandbox forbids it
//          kUnimplemented     the host's kernel knows no nodes
absl::Status place_on_nodes(std::span<std::byte> part, NumaPolicy policy,
                            std::span<const std::uint32_t> nodes);

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_HOST_MEMORY_NUMA_H_
