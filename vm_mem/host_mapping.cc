#include "vm_mem/host_mapping.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <limits>
#include <utility>

#include "absl/strings/str_format.h"

namespace vm_mem {
namespace {

absl::Status host_refused(const char* call, std::size_t bytes, int error) {
  return absl::ResourceExhaustedError(
      absl::StrFormat("%s of 0x%x bytes failed: errno %d", call, bytes, error));
}

// 0 where the size is 0 or does not fit once rounded up.
std::size_t rounded_to_pages(std::size_t bytes) {
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  if (bytes > std::numeric_limits<std::size_t>::max() - page) return 0;
  return (bytes + page - 1) / page * page;
}

absl::Status size_error(std::size_t bytes) {
  if (bytes == 0) return absl::InvalidArgumentError("a host mapping of 0x0 bytes");
  return host_refused("mmap", bytes, ENOMEM);
}

absl::Status size_and_seal(int fd, std::size_t bytes) {
  if (::ftruncate(fd, static_cast<off_t>(bytes)) != 0) {
    return host_refused("ftruncate", bytes, errno);
  }
  if (::fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) != 0) {
    return host_refused("fcntl(F_ADD_SEALS)", bytes, errno);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<HostMapping> HostMapping::anonymous(std::size_t bytes) {
  const std::size_t rounded = rounded_to_pages(bytes);
  if (rounded == 0) return size_error(bytes);
  void* at = ::mmap(nullptr, rounded, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (at == MAP_FAILED) return host_refused("mmap", rounded, errno);
  return HostMapping({static_cast<std::byte*>(at), rounded}, -1);
}

absl::StatusOr<HostMapping> HostMapping::memfd(std::size_t bytes) {
  const std::size_t rounded = rounded_to_pages(bytes);
  if (rounded == 0) return size_error(bytes);
  const int fd = ::memfd_create("vm_mem", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0) return host_refused("memfd_create", rounded, errno);
  HostMapping mapping({}, fd);  // owns the descriptor on every path from here
  if (absl::Status sized = size_and_seal(fd, rounded); !sized.ok()) return sized;
  void* at = ::mmap(nullptr, rounded, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
  if (at == MAP_FAILED) return host_refused("mmap", rounded, errno);
  mapping.bytes_ = {static_cast<std::byte*>(at), rounded};
  return mapping;
}

HostMapping::HostMapping(HostMapping&& other) noexcept
    : bytes_(std::exchange(other.bytes_, {})), fd_(std::exchange(other.fd_, -1)) {}

HostMapping& HostMapping::operator=(HostMapping&& other) noexcept {
  if (this != &other) {
    release();
    bytes_ = std::exchange(other.bytes_, {});
    fd_ = std::exchange(other.fd_, -1);
  }
  return *this;
}

HostMapping::~HostMapping() { release(); }

absl::Status HostMapping::make_read_only() {
  if (::mprotect(bytes_.data(), bytes_.size(), PROT_READ) != 0) {
    return host_refused("mprotect", bytes_.size(), errno);
  }
  return absl::OkStatus();
}

void HostMapping::release() noexcept {
  if (!bytes_.empty()) ::munmap(bytes_.data(), bytes_.size());
  if (fd_ >= 0) ::close(fd_);
  bytes_ = {};
  fd_ = -1;
}

}  // namespace vm_mem
