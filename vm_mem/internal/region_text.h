// How regions and ranges appear in messages.
#ifndef VM_MEM_INTERNAL_REGION_TEXT_H_
#define VM_MEM_INTERNAL_REGION_TEXT_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "vm_mem/guest_address.h"
#include "vm_mem/region_id.h"

namespace vm_mem::internal {

constexpr std::uint64_t kRegionAlignment = 4096;

constexpr std::uint64_t number_of(RegionId id) { return static_cast<std::uint64_t>(id); }

// "[0x1000, 0x3000)"
std::string text_of(GuestRange range);

absl::Status no_such_region(RegionId id);

// Errors:  kInvalidArgument  empty, or not made of whole pages
absl::Status check_shape(GuestRange range);

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_REGION_TEXT_H_
