// The regions of a flat image, which are told by whoever has it.
#ifndef VM_MEM_INTERNAL_FLAT_REGIONS_H_
#define VM_MEM_INTERNAL_FLAT_REGIONS_H_

#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "vm_mem/guest_address.h"
#include "vm_mem/internal/file_calls.h"
#include "vm_mem/internal/snapshot_format.h"

namespace vm_mem::internal {

// Numbers their pages.
//
// Errors:  kInvalidArgument: they are not of whole pages, not ascending, or too many
absl::StatusOr<std::vector<RegionEntry>> flat_regions(std::span<const GuestRange> regions);

// Errors:  also kInvalidArgument: the image has another length than they have in all; no regular
//          file
//          of the host
absl::StatusOr<OpenFile> open_flat_image(const std::string& image,
                                         std::span<const GuestRange> regions);

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_FLAT_REGIONS_H_
