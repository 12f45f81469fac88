// The kernel's own note of which pages were written: userfaultfd's asynchronous write
// protection, read by PAGEMAP_SCAN.
#ifndef VM_MEM_INTERNAL_WRITE_PROTECT_WATCH_H_
#define VM_MEM_INTERNAL_WRITE_PROTECT_WATCH_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace vm_mem::internal {

// A descriptor that is closed with its object.
class OwnedFd {
 public:
  explicit OwnedFd(int fd = -1) : fd_(fd) {}
  OwnedFd(OwnedFd&& other) noexcept;
  OwnedFd& operator=(OwnedFd&& other) noexcept;
  ~OwnedFd();

  int get() const { return fd_; }

 private:
  int fd_;
};

class WriteProtectWatch {
 public:
  // Watches `memory`, which begins and ends at pages; one watch a page at a time.
  // Errors:  kUnimplemented: the kernel, its settings or this memory do not allow it, or
  //          a trial shows that it does not work; errno in the message.
  // Source:  ioctl_userfaultfd(2); Documentation/admin-guide/mm/pagemap.rst.
  static absl::StatusOr<WriteProtectWatch> make(std::span<std::byte> memory);

  // Calls `written` for each range, by offset and bytes, that was written since the last
  // call, and watches it again.
  // Errors:  kUnavailable; some ranges may have been passed on.
  absl::Status collect(const std::function<void(std::uint64_t, std::uint64_t)>& written);

 private:
  WriteProtectWatch(OwnedFd uffd, OwnedFd pagemap, std::span<std::byte> memory)
      : uffd_(std::move(uffd)), pagemap_(std::move(pagemap)), memory_(memory) {}

  static absl::StatusOr<WriteProtectWatch> arm(std::span<std::byte> memory);
  static absl::Status try_out();

  OwnedFd uffd_;
  OwnedFd pagemap_;
  std::span<std::byte> memory_;
};

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_WRITE_PROTECT_WATCH_H_
