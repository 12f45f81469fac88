// The memory that a vhost-user front end shares, as regions of a MemoryManager.
#ifndef VM_DEVICE_INTERNAL_VHOST_USER_MEMORY_H_
#define VM_DEVICE_INTERNAL_VHOST_USER_MEMORY_H_

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "vm_device/internal/owned_fd.h"
#include "vm_device/iommu.h"
#include "vm_mem/memory_manager.h"
#include "vm_mem/memory_reader.h"

namespace vm_device::internal {

// As a message has it.
struct VhostUserRegion {
  std::uint64_t guest = 0;
  std::uint64_t bytes = 0;
  std::uint64_t user = 0;  // where the front end has mapped it
  std::uint64_t file_offset = 0;

  friend bool operator==(const VhostUserRegion&, const VhostUserRegion&) = default;
  // Of kVhostRegionBytes.
  static VhostUserRegion decode(const std::byte* from);
};

// Memory that its owner can cut off while it is in use: accesses to what is gone fail, unless the
// file is sealed against that. Writes are tracked from the beginning, so that nothing is
// under way untracked when somebody asks for the log.
//
// Errors:  as those of MemoryManager; nothing has changed then. kInvalidArgument also for
//          addresses of the front end's that wrap or are there already.
// Threads:  that of the reader.
class VhostUserMemory {
 public:
  // Needs:  both outlive this object.
  VhostUserMemory(vm_mem::MemoryManager& memory, vm_mem::MemoryReader& reader)
      : memory_(memory), reader_(reader) {}

  // Instead of all that is there. What stays the same keeps its dirty pages.
  absl::Status set_table(std::span<const VhostUserRegion> regions, std::span<const OwnedFd> fds);
  absl::Status add(const VhostUserRegion& region, const OwnedFd& fd);
  // Waits for DMA that is under way there.
  absl::Status remove(const VhostUserRegion& region);
  void clear();

  // What of [user, user + bytes) lies in the region where it begins. None: 0 bytes.
  GuestSegment guest_run(std::uint64_t user, std::uint64_t bytes) const;
  // Of [user, user + bytes), all of it in one region.
  std::optional<std::uint64_t> guest_address(std::uint64_t user, std::uint64_t bytes) const;
  std::optional<std::uint64_t> guest_begin(vm_mem::RegionId region) const;

 private:
  struct Slot {
    VhostUserRegion region;
    dev_t device = 0;
    ino_t inode = 0;
    vm_mem::RegionId id{};
  };

  absl::StatusOr<Slot> described(const VhostUserRegion& region, const OwnedFd& fd) const;
  // Errors:  kInvalidArgument: it overlaps one of them in the front end.
  static absl::Status check_apart(const Slot& slot, std::span<const Slot> others);
  absl::Status map(Slot& slot, const OwnedFd& fd);
  void drop(std::span<const Slot> slots);

  vm_mem::MemoryManager& memory_;
  vm_mem::MemoryReader& reader_;
  std::vector<Slot> slots_;
};

}  // namespace vm_device::internal

#endif  // VM_DEVICE_INTERNAL_VHOST_USER_MEMORY_H_
