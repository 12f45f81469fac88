// A checked, pinned window on guest memory: host bytes that stay where they are while
// the lease lives, for system calls and devices that want a pointer.
#ifndef VM_MEM_MEMORY_LEASE_H_
#define VM_MEM_MEMORY_LEASE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "absl/status/status.h"
#include "vm_mem/guest_address.h"

namespace vm_mem {

class MemoryManager;

namespace internal {
class LeaseHold;
}

enum class LeaseAccess : std::uint8_t { kRead, kReadWrite };

// MemoryManager::lease() makes it. For one thread at a time; it may be passed on.
//
// The bytes are raced by the guest like any access to them, and are read and written
// without the guarantees of docs/memory_model.md. Where the backing can fault (a file
// that somebody truncates), the caller's own access takes the fault.
//
// It may outlive the manager: the memory then goes with it. Once moved from or
// released it has no bytes.
class MemoryLease {
 public:
  MemoryLease() noexcept;
  MemoryLease(MemoryLease&& other) noexcept;
  // What it held before is released first.
  MemoryLease& operator=(MemoryLease&& other) noexcept;
  ~MemoryLease();  // as release()

  // Needs:  a lease for kRead is not written through.
  std::span<std::byte> bytes() const { return bytes_; }
  // What was leased; empty once released.
  GuestRange range() const { return range_; }
  // Of the map that it was taken from.
  std::uint64_t generation() const { return generation_; }

  // Whether accesses to range() would still reach bytes(), with the permission that was
  // asked for. False, too, once something else about the placement of the region has
  // changed, and once the manager is gone: take another lease then.
  //
  // Cost:  one load for each section under the window, two for one shown by an alias.
  bool current() const;

  // Says what was written, after it was. From the first call on release() no longer
  // marks the whole window dirty, but once more the span of all that was said: a
  // device may go on writing there. Zero bytes say that nothing was.
  //
  // Units:   `offset` from the beginning of the window.
  // Errors:  kFailedPrecondition  released, or leased for kRead
  //          kInvalidArgument     not inside the window
  absl::Status mark_dirty(std::uint64_t offset, std::uint64_t bytes);

  // Marks what may have been written and lets go. Does nothing a second time.
  void release() noexcept;

 private:
  friend class internal::LeaseHold;

  std::span<std::byte> bytes_;
  GuestRange range_;
  std::uint64_t generation_ = 0;
  std::unique_ptr<internal::LeaseHold> hold_;
};

}  // namespace vm_mem

#endif  // VM_MEM_MEMORY_LEASE_H_
