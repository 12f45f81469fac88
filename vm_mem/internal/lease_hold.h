// What a lease holds on to: the sections under its window.
#ifndef VM_MEM_INTERNAL_LEASE_HOLD_H_
#define VM_MEM_INTERNAL_LEASE_HOLD_H_

#include <atomic>
#include <cstdint>
#include <list>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "vm_mem/internal/region.h"
#include "vm_mem/memory_lease.h"
#include "vm_mem/write_cause.h"

namespace vm_mem::internal {

// What the lease is for.
struct LeaseUse {
  LeaseAccess access = LeaseAccess::kRead;
  WriteCause cause = WriteCause::kHost;
};

using LeaseCount = std::shared_ptr<std::atomic<std::uint64_t>>;

// Counts as one lease of every region under the window, and of the aliases that show
// them.
class LeaseHold {
 public:
  // What `range` is in `map`, held.
  //
  // Errors:  kInvalidArgument     empty range
  //          kNotFound            nothing is mapped at some byte
  //          kPermissionDenied    the access is not permitted there
  //          kFailedPrecondition  a device, or not contiguous in the host
  //          kUnavailable         a region under it is leaving, or just then shown otherwise:
  //                               look at a newer map
  static absl::StatusOr<MemoryLease> lease(const MemoryMap& map, GuestRange range, LeaseUse use,
                                           const LeaseCount& all);

  // Makes the pages under the window present, where some come when they are touched: what is
  // given to a system call is not touched by this process.
  //
  // Errors:  those of AbsentPages::bring()
  static absl::Status bring_pages(const MemoryLease& lease);

  // Ends a lease that nobody has seen: there is nothing to mark.
  static void abandon(MemoryLease& lease);

  LeaseHold(LeaseUse use, LeaseCount all);
  LeaseHold(const LeaseHold&) = delete;
  LeaseHold& operator=(const LeaseHold&) = delete;
  ~LeaseHold();

  bool current() const;
  bool writes() const { return use_.access == LeaseAccess::kReadWrite; }
  // Needs:  inside the window.
  void mark(std::uint64_t offset, std::uint64_t bytes);
  // Marks what mark() was told, or all of it.
  void mark_at_end();

 private:
  struct Piece {
    std::shared_ptr<const void> owner;
    SectionOwner regions;
    std::uint64_t shown_layout = 0;
    std::uint64_t window_layout = 0;
    LeaseWindow held{};       // of the region that is shown
    std::uint64_t begin = 0;  // in the lease's window
    std::uint64_t end = 0;
  };

  absl::Status take(const MapSection& section, std::uint64_t offset, std::uint64_t bytes);
  // A region that several pieces show counts once. Whoever closes it before the call is
  // seen.
  absl::Status count(Region& region);
  std::uint64_t leased_bytes() const { return pieces_.empty() ? 0 : pieces_.back().end; }

  LeaseUse use_;
  LeaseCount all_;
  std::list<Piece> pieces_;  // which their regions point to
  std::vector<Region*> counted_;
  // The span of what was said to be written.
  bool told_ = false;
  std::uint64_t told_begin_ = 0;
  std::uint64_t told_end_ = 0;
};

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_LEASE_HOLD_H_
