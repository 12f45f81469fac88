// Memfds, of ordinary and of huge pages: sized once, then sealed.

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include <bit>
#include <cerrno>
#include <utility>

#include "absl/strings/str_format.h"
#include "vm_mem/internal/host_memory_descriptor.h"
#include "vm_mem/internal/host_memory_error.h"
#include "vm_mem/internal/host_memory_fd.h"
#include "vm_mem/internal/host_memory_huge.h"
#include "vm_mem/internal/host_memory_reservation.h"
#include "vm_mem/internal/host_memory_source.h"

namespace vm_mem::internal {
namespace {

constexpr int kHugeShift = 26;  // MFD_HUGE_SHIFT

class MemfdSource final : public PageSource {
 public:
  MemfdSource(HostFd fd, std::size_t page_bytes) : fd_(std::move(fd)), page_bytes_(page_bytes) {}

  PageTraits traits() const override {
    return {.page_bytes = page_bytes_, .sharing = FileSharing::kShared};
  }

  absl::Status map(std::span<std::byte> part, std::size_t offset) const override {
    // Huge pages are set aside here and now; ordinary ones come with their first access.
    const int flags = MAP_SHARED | (huge() ? 0 : MAP_NORESERVE);
    const int error = map_descriptor(part, range(offset, part.size()),
                                     {.protection = PROT_READ | PROT_WRITE, .flags = flags});
    if (error == 0) return absl::OkStatus();
    return huge() ? huge_page_pool_refused(part.size(), page_bytes_, error)
                  : host_refused("mmap", part.size(), error);
  }

  absl::Status discard(std::span<std::byte> part, std::size_t offset) const override {
    return punch_hole(range(offset, part.size()));
  }
  absl::Status drop(std::size_t offset, std::size_t bytes) const override {
    return punch_hole(range(offset, bytes));
  }
  absl::Status allocate(std::size_t offset, std::size_t bytes) const override {
    return allocate_range(range(offset, bytes));
  }
  int shareable_fd() const override { return fd_.get(); }

 private:
  bool huge() const { return page_bytes_ != host_page_bytes(); }
  DescriptorRange range(std::size_t offset, std::size_t bytes) const {
    return {fd_.get(), offset, bytes};
  }

  HostFd fd_;
  std::size_t page_bytes_;
};

// A size above RLIMIT_FSIZE would not be refused but end the process by SIGXFSZ.
absl::Status check_file_limit(std::size_t bytes) {
  rlimit limit = {};
  if (::getrlimit(RLIMIT_FSIZE, &limit) != 0 || bytes <= limit.rlim_cur) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrFormat(
      "a memfd of 0x%x bytes: RLIMIT_FSIZE is 0x%x: raise it (ulimit -f)", bytes, limit.rlim_cur));
}

absl::StatusOr<HostFd> sealed_memfd(std::size_t bytes, unsigned flags) {
  if (absl::Status limited = check_file_limit(bytes); !limited.ok()) return limited;
  HostFd fd(::memfd_create("vm_mem", MFD_CLOEXEC | MFD_ALLOW_SEALING | flags));
  if (fd.get() < 0) return host_refused("memfd_create", bytes, errno);
  if (::ftruncate(fd.get(), static_cast<off_t>(bytes)) != 0) {
    return host_refused("ftruncate", bytes, errno);
  }
  if (::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) != 0) {
    return host_refused("fcntl(F_ADD_SEALS)", bytes, errno);
  }
  return fd;
}

absl::StatusOr<std::unique_ptr<PageSource>> memfd_of(std::size_t bytes, std::size_t page_bytes,
                                                     unsigned flags) {
  absl::StatusOr<HostFd> fd = sealed_memfd(bytes, flags);
  if (!fd.ok()) return fd.status();
  return std::make_unique<MemfdSource>(*std::move(fd), page_bytes);
}

}  // namespace

absl::StatusOr<std::unique_ptr<PageSource>> memfd_source(std::size_t bytes) {
  return memfd_of(bytes, host_page_bytes(), 0);
}

absl::StatusOr<std::unique_ptr<PageSource>> hugetlb_source(std::size_t bytes,
                                                           std::size_t huge_page_bytes) {
  const auto size = static_cast<unsigned>(std::countr_zero(huge_page_bytes)) << kHugeShift;
  return memfd_of(bytes, huge_page_bytes, MFD_HUGETLB | size);
}

}  // namespace vm_mem::internal
