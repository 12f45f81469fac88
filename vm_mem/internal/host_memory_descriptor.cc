#include "vm_mem/internal/host_memory_descriptor.h"

#include <fcntl.h>
#include <sys/mman.h>

#include <cerrno>

#include "vm_mem/internal/host_memory_error.h"

namespace vm_mem::internal {
namespace {

absl::Status change_allocation(const DescriptorRange& range, int mode, const char* call) {
  while (::fallocate(range.fd, mode, static_cast<off_t>(range.offset),
                     static_cast<off_t>(range.bytes)) != 0) {
    if (errno != EINTR) return host_refused(call, range.bytes, errno);
  }
  return absl::OkStatus();
}

}  // namespace

// The host unmaps what MAP_FIXED replaces before it asks the descriptor, and a hole in
// a reservation could become anybody's. So the range is mapped elsewhere first: what
// can be refused is refused there, and huge pages stay set aside for the descriptor.
int map_descriptor(std::span<std::byte> part, const DescriptorRange& range, MapFlags how) {
  const auto offset = static_cast<off_t>(range.offset);
  void* trial = ::mmap(nullptr, part.size(), how.protection, how.flags, range.fd, offset);
  if (trial == MAP_FAILED) return errno;
  ::munmap(trial, part.size());
  void* at =
      ::mmap(part.data(), part.size(), how.protection, how.flags | MAP_FIXED, range.fd, offset);
  return at == MAP_FAILED ? errno : 0;
}

absl::Status punch_hole(const DescriptorRange& range) {
  return change_allocation(range, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                           "fallocate(FALLOC_FL_PUNCH_HOLE)");
}

absl::Status allocate_range(const DescriptorRange& range) {
  return change_allocation(range, FALLOC_FL_KEEP_SIZE, "fallocate");
}

}  // namespace vm_mem::internal
