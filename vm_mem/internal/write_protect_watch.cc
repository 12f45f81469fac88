#include "vm_mem/internal/write_protect_watch.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <utility>

#include "absl/strings/str_format.h"
#include "vm_mem/internal/pagemap_scan.h"

namespace vm_mem::internal {
namespace {

// Names that the headers of older systems lack.
constexpr std::uint64_t kFeatureWriteProtectShmem = 1 << 12;  // hugetlbfs and shmem
constexpr std::uint64_t kFeatureUnpopulated = 1 << 13;
constexpr std::uint64_t kFeatureAsync = 1 << 15;
constexpr std::uint64_t kWriteProtectFeatures =
    kFeatureAsync | kFeatureUnpopulated | kFeatureWriteProtectShmem;

constexpr unsigned long kNewUserfaultfd = _IO(0xaa, 0x00);

constexpr std::size_t kTrialBytes = 2 * 4096;

absl::Status refused(const char* what) {
  return absl::UnimplementedError(absl::StrFormat("%s: errno %d", what, errno));
}

std::uint64_t address_of(const std::byte* p) { return reinterpret_cast<std::uintptr_t>(p); }

// Faults of the kernel itself (read(2) into the memory) must be served too, which takes
// a privilege, or the device file.
OwnedFd open_userfaultfd() {
  constexpr int kFlags = O_CLOEXEC | O_NONBLOCK;
  const long fd = syscall(SYS_userfaultfd, kFlags);
  if (fd >= 0) return OwnedFd(static_cast<int>(fd));
  const OwnedFd device(open("/dev/userfaultfd", O_RDWR | O_CLOEXEC));
  return OwnedFd(device.get() < 0 ? -1 : ioctl(device.get(), kNewUserfaultfd, kFlags));
}

absl::StatusOr<OwnedFd> open_asynchronous() {
  OwnedFd fd = open_userfaultfd();
  if (fd.get() < 0) {
    return refused(
        "userfaultfd (it takes CAP_SYS_PTRACE, vm.unprivileged_userfaultfd = 1 or "
        "access to /dev/userfaultfd)");
  }
  uffdio_api api{};
  api.api = UFFD_API;
  api.features = kWriteProtectFeatures;
  if (ioctl(fd.get(), UFFDIO_API, &api) != 0) {
    return refused("userfaultfd without UFFD_FEATURE_WP_ASYNC (Linux 6.7 has it)");
  }
  return fd;
}

absl::Status protect(int fd, std::span<std::byte> memory) {
  const uffdio_range range{address_of(memory.data()), memory.size()};
  uffdio_register registration{};
  registration.range = range;
  registration.mode = UFFDIO_REGISTER_MODE_WP;
  if (ioctl(fd, UFFDIO_REGISTER, &registration) != 0) {
    return refused("UFFDIO_REGISTER of this memory for write protection");
  }
  uffdio_writeprotect protection{};
  protection.range = range;
  protection.mode = UFFDIO_WRITEPROTECT_MODE_WP;
  if (ioctl(fd, UFFDIO_WRITEPROTECT, &protection) != 0) return refused("UFFDIO_WRITEPROTECT");
  return absl::OkStatus();
}

// A private page to try the method on.
class TrialMemory {
 public:
  TrialMemory()
      : mapped_(mmap(nullptr, kTrialBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                     0)) {}
  ~TrialMemory() {
    if (mapped_ != MAP_FAILED) munmap(mapped_, kTrialBytes);
  }
  TrialMemory(const TrialMemory&) = delete;
  TrialMemory& operator=(const TrialMemory&) = delete;

  bool ok() const { return mapped_ != MAP_FAILED; }
  std::span<std::byte> bytes() { return {static_cast<std::byte*>(mapped_), kTrialBytes}; }

 private:
  void* mapped_;
};

}  // namespace

OwnedFd::OwnedFd(OwnedFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}

OwnedFd& OwnedFd::operator=(OwnedFd&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}

OwnedFd::~OwnedFd() {
  if (fd_ >= 0) close(fd_);
}

absl::StatusOr<WriteProtectWatch> WriteProtectWatch::make(std::span<std::byte> memory) {
  if (absl::Status works = try_out(); !works.ok()) return works;
  return arm(memory);
}

absl::StatusOr<WriteProtectWatch> WriteProtectWatch::arm(std::span<std::byte> memory) {
  absl::StatusOr<OwnedFd> uffd = open_asynchronous();
  if (!uffd.ok()) return uffd.status();
  OwnedFd pagemap(open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
  if (pagemap.get() < 0) return refused("/proc/self/pagemap");
  if (absl::Status armed = protect(uffd->get(), memory); !armed.ok()) return armed;
  return WriteProtectWatch(*std::move(uffd), std::move(pagemap), memory);
}

// One of two pages is written, twice: after each collect() it must be seen alone.
absl::Status WriteProtectWatch::try_out() {
  TrialMemory memory;
  if (!memory.ok()) return refused("no page to try write protection on");
  absl::StatusOr<WriteProtectWatch> watch = arm(memory.bytes());
  if (!watch.ok()) return watch.status();
  for (int turn = 0; turn < 2; ++turn) {
    std::atomic_ref(reinterpret_cast<std::uint8_t&>(memory.bytes().back())).fetch_add(1);
    std::uint64_t pages = 0;
    std::uint64_t seen = 0;
    const absl::Status collected = watch->collect([&](std::uint64_t offset, std::uint64_t bytes) {
      pages += bytes / 4096;
      seen = offset;
    });
    if (!collected.ok()) return absl::UnimplementedError(std::string(collected.message()));
    if (pages != 1 || seen != kTrialBytes / 2) {
      return absl::UnimplementedError("a trial of write protection did not see a write");
    }
  }
  return absl::OkStatus();
}

absl::Status WriteProtectWatch::collect(
    const std::function<void(std::uint64_t, std::uint64_t)>& written) {
  constexpr PagemapQuery kWritten{.flags = kScanProtectsMatches | kScanChecksAsync,
                                  .all_of = kPageIsWritten};
  const int error = scan_pagemap(
      pagemap_.get(), memory_, kWritten,
      [&](std::uint64_t begin, std::uint64_t end, std::uint64_t) { written(begin, end - begin); });
  if (error != 0) {
    return absl::UnavailableError(absl::StrFormat("PAGEMAP_SCAN failed: errno %d", error));
  }
  return absl::OkStatus();
}

}  // namespace vm_mem::internal
