// The RAM of a manager as a snapshot sees it: whole regions, whatever of them is shown where.
#ifndef VM_MEM_INTERNAL_GUEST_RAM_H_
#define VM_MEM_INTERNAL_GUEST_RAM_H_

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "vm_mem/internal/populated.h"
#include "vm_mem/internal/region.h"
#include "vm_mem/internal/snapshot_format.h"
#include "vm_mem/memory_manager.h"

namespace vm_mem::internal {

struct RamRegion {
  RegionId id{};
  RegionEntry entry;
  std::shared_ptr<Region> region;
  std::span<std::byte> memory;
  bool tracked = false;

  std::uint64_t first_page() const { return entry.first_page; }
  std::uint64_t end_page() const { return entry.first_page + entry.bytes / kSnapshotPageBytes; }
  const HostMapping& mapping() const { return *region->mapping; }
  // Pages that may hold something else than zero; sorted, within the region.
  std::vector<ByteRun> populated() const;
  std::uint64_t page_address(std::uint64_t page) const {
    return entry.begin + (page - entry.first_page) * kSnapshotPageBytes;
  }
  std::byte* page_memory(std::uint64_t page) const {
    return memory.data() + (page - entry.first_page) * kSnapshotPageBytes;
  }
};

// Holds on to the regions, not to where they are.
class GuestRam {
 public:
  // By guest address.
  // Errors:  kInvalidArgument: two overlap, or there are too many
  static absl::StatusOr<GuestRam> of(MemoryManager& memory);

  std::span<const RamRegion> regions() const { return regions_; }
  std::vector<RegionEntry> entries() const;
  std::uint64_t page_count() const { return page_count_; }
  // Of one of the pages. Needs:  it exists.
  const RamRegion& region_of(std::uint64_t page) const;
  // The number of the page that has `address`.
  // Errors:  kInvalidArgument: it is not in RAM
  absl::StatusOr<std::uint32_t> page_at(GuestAddress address) const;

  // Errors:  kUnavailable: somebody holds a lease
  absl::Status check_unleased() const;
  // Errors:  kPermissionDenied: this process cannot write to one
  absl::Status check_writable() const;
  // Errors:  kFailedPrecondition: it is being restored, and pages are absent
  absl::Status check_complete() const;
  // Who answers faults of the host.
  FaultHandler fault_handler() const { return fault_handler_; }

 private:
  std::vector<RamRegion> regions_;
  std::uint64_t page_count_ = 0;
  FaultHandler fault_handler_ = FaultHandler::kInstall;
};

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_GUEST_RAM_H_
