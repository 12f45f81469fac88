// userfaultfd: memory whose missing pages the process supplies itself.
//
// Source:  userfaultfd(2), ioctl_userfaultfd(2); Documentation/admin-guide/mm/userfaultfd.rst.
#ifndef VM_MEM_INTERNAL_USERFAULTFD_H_
#define VM_MEM_INTERNAL_USERFAULTFD_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "vm_mem/internal/host_memory_fd.h"
#include "vm_mem/lazy_restore.h"

namespace vm_mem::internal {

// How much of a range was done, and the errno of what stopped it; 0: all of it was.
struct PagesDone {
  std::size_t bytes = 0;
  int error = 0;
};

class Userfaultfd {
 public:
  // Errors:  kUnimplemented, kPermissionDenied, kUnavailable; the message says what is missing
  static absl::StatusOr<Userfaultfd> open(LazyFaults faults);

  int fd() const { return fd_.get(); }
  bool takes_shared_memory() const { return (features_ & kSharedMemory) != 0; }
  bool can_poison() const { return (features_ & kPoison) != 0; }

  // For tests: as on a host without.
  void forget_poison() { features_ &= ~kPoison; }

  // From here on a touch of a page of `memory` that is missing is a fault.
  // Errors:  kFailedPrecondition  it is another's; kUnimplemented, kUnavailable
  absl::Status watch(std::span<std::byte> memory) const;
  // Who waits for a page of it tries again.
  void forget(std::span<std::byte> memory) const;

  // Whether threads wait for pages, and are to be woken.
  bool has_waiters() const { return (features_ & kSignals) == 0; }

  // --- Async-signal-safe. Pages that are there are left as they are: EEXIST. Nobody is woken.
  PagesDone copy(std::byte* to, std::span<const std::byte> from) const;
  PagesDone zero(std::span<std::byte> memory) const;
  // Accesses fail from here on. Where the host cannot do that page by page, it is protected
  // from all accesses, which splits the mapping.
  PagesDone poison(std::span<std::byte> memory) const;
  void wake(std::span<std::byte> memory) const;

 private:
  static constexpr std::uint64_t kSharedMemory = 1 << 5;  // UFFD_FEATURE_MISSING_SHMEM
  static constexpr std::uint64_t kSignals = 1 << 7;       // UFFD_FEATURE_SIGBUS
  static constexpr std::uint64_t kPoison = 1 << 14;       // UFFD_FEATURE_POISON, Linux 6.6

  Userfaultfd(HostFd fd, std::uint64_t features) : fd_(std::move(fd)), features_(features) {}

  HostFd fd_;
  std::uint64_t features_;
};

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_USERFAULTFD_H_
