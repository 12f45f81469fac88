// Host memory that backs guest RAM: anonymous, or a memfd that another process
// can share.
#ifndef VM_MEM_HOST_MAPPING_H_
#define VM_MEM_HOST_MAPPING_H_

#include <cstddef>
#include <span>

#include "absl/status/statusor.h"

namespace vm_mem {

// Owns one host mapping, and the memfd behind it if there is one; unmaps and
// closes on destruction. Movable, not copyable.
class HostMapping {
 public:
  // Maps zero-filled, demand-paged memory that belongs to this process.
  //
  // Units:   `bytes` is rounded up to the host page size.
  // Errors:  kInvalidArgument     bytes is 0
  //          kResourceExhausted   the host refused; the message carries errno
  // Cost:    one mmap; pages are not touched.
  // Source:  mmap(2), MAP_NORESERVE.
  static absl::StatusOr<HostMapping> anonymous(std::size_t bytes);

  // The same, as a mapping of a memfd of exactly that size, sealed against
  // shrinking and growing, so that no holder of the descriptor can take pages away
  // under a running access.
  //
  // Errors:  as anonymous().
  // Source:  memfd_create(2), fcntl(2) F_ADD_SEALS.
  static absl::StatusOr<HostMapping> memfd(std::size_t bytes);

  HostMapping(HostMapping&& other) noexcept;
  HostMapping& operator=(HostMapping&& other) noexcept;
  ~HostMapping();

  std::span<std::byte> bytes() const { return bytes_; }

  // The memfd, which stays this object's; -1 for anonymous memory.
  int fd() const { return fd_; }

  // Takes away the right to write through this mapping (ROM).
  absl::Status make_read_only();

 private:
  HostMapping(std::span<std::byte> bytes, int fd) : bytes_(bytes), fd_(fd) {}
  void release() noexcept;

  std::span<std::byte> bytes_;
  int fd_ = -1;
};

}  // namespace vm_mem

#endif  // VM_MEM_HOST_MAPPING_H_
