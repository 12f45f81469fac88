// Where a region lies among the others, and what can be asked about one.
#ifndef VM_MEM_REGION_INFO_H_
#define VM_MEM_REGION_INFO_H_

#include <cstddef>
#include <cstdint>

#include "vm_mem/guest_address.h"
#include "vm_mem/protection.h"
#include "vm_mem/ram_options.h"
#include "vm_mem/region_id.h"

namespace vm_mem {

enum class RegionType : std::uint8_t {
  kRam,
  kRom,
  kMmio,
  kAlias,      // shows a window of another region
  kContainer,  // holds regions, which it moves, hides and clips together
};

// Whether a region is seen at its own place. Aliases show it either way.
enum class Enabled : std::uint8_t { kNo, kYes };

struct Placement {
  // Where regions of one container overlap, the one of the highest priority is seen.
  // Enabled regions of equal priority may not overlap.
  int priority = 0;
  // The region's range counts from the beginning of this one, and is clipped to it.
  RegionId container = kRootContainer;
};

struct RegionInfo {
  RegionId region{};
  RegionType type = RegionType::kRam;
  GuestRange range;  // in its container
  Placement placement;
  Enabled enabled = Enabled::kYes;
  Protection protection = Protection::kReadWrite;
  DirtyTracking dirty_tracking = DirtyTracking::kOff;
  RegionId target{};                // of an alias: what it shows, never an alias itself
  std::uint64_t target_offset = 0;  // of the window in the target
  std::uint64_t leases = 0;         // that hold it now
};

// Where the memory of a region can be mapped a second time.
struct RegionFile {
  int fd = -1;  // the manager's
  // Of the region's first byte in it, and what mappings of it consist of.
  // Units:  bytes; a multiple of page_bytes.
  std::uint64_t offset = 0;
  std::size_t page_bytes = 0;
};

}  // namespace vm_mem

#endif  // VM_MEM_REGION_INFO_H_
