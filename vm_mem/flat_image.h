// A flat image of memory as RAM, without reading it: what is in it comes with the first touch of
// each page. export_flat_image() of vm_mem/snapshot_convert.h writes such, and Firecracker's
// memory file is one.
//
// In the library vm::mem_snapshot.
#ifndef VM_MEM_FLAT_IMAGE_H_
#define VM_MEM_FLAT_IMAGE_H_

#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "vm_mem/guest_address.h"
#include "vm_mem/memory_manager.h"
#include "vm_mem/ram_options.h"
#include "vm_mem/region_id.h"

namespace vm_mem {

// Adds RAM regions that show `image`, one after the other as they lie in it. What the guest
// writes stays in this process: any number of guests may run from one image, and share in the
// host's memory what none of them has written. Nothing in an image can be checked.
//
// Units:   ascending ranges of whole pages of the host's.
// Needs:   the image stays as it is while a region shows it; replace it by renaming another.
//          Where somebody cuts it off, accesses behind its end fail with kHostFault, or follow
//          RamOptions::host_fault.
// Errors:  kInvalidArgument  no such ranges; the image has another length than they have in all
//          those of MemoryManager::add_ram()
//          No region is added then.
// Cost:    one mmap for each region. `options` are those of each; their backing, file, offset
//          and sharing are not looked at.
absl::StatusOr<std::vector<RegionId>> map_flat_image(MemoryManager& memory,
                                                     const std::string& image,
                                                     std::span<const GuestRange> regions,
                                                     RamOptions options = {});

}  // namespace vm_mem

#endif  // VM_MEM_FLAT_IMAGE_H_
