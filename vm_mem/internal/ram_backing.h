// From the options of a RAM region to the host memory behind it.
#ifndef VM_MEM_INTERNAL_RAM_BACKING_H_
#define VM_MEM_INTERNAL_RAM_BACKING_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "vm_mem/host_mapping.h"
#include "vm_mem/ram_options.h"

namespace vm_mem::internal {

// Maps `bytes` as `options` say; on an error nothing is left mapped or open.
//
// Errors:  those of the HostMapping factory for options.backing; kInvalidArgument
//          where options meant for one backing are given to another.
absl::StatusOr<HostMapping> map_ram(std::uint64_t bytes, const RamOptions& options);

// Whether accesses to the region take the forms that survive a host fault.
bool recovers(const RamOptions& options);

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_RAM_BACKING_H_
