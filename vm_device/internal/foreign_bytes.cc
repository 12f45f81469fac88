#include "vm_device/internal/foreign_bytes.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/str_format.h"

namespace vm_device::internal {
namespace {

using vm_mem::GuestAddress;
using vm_mem::GuestRange;

absl::Status check(const OwnedFd& fd, std::uint64_t offset, std::uint64_t bytes) {
  struct stat about = {};
  if (::fstat(fd.get(), &about) != 0) {
    return absl::InvalidArgumentError(absl::StrFormat("fstat: %s", std::strerror(errno)));
  }
  const auto length = static_cast<std::uint64_t>(about.st_size);
  const bool fits = S_ISREG(about.st_mode) && offset <= length && bytes <= length - offset;
  if (fits && bytes != 0 && offset % vm_mem::kGuestPageBytes == 0) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrFormat(
      "0x%x bytes from offset 0x%x on are no part of a file of 0x%x", bytes, offset, length));
}

}  // namespace

vm_mem::FaultRecovery recovery_for(int fd) {
  struct statfs about = {};
  const int seals = ::fcntl(fd, F_GET_SEALS);
  const bool sealed = seals >= 0 && (seals & F_SEAL_SHRINK) != 0;
  const bool plain =
      sealed && ::fstatfs(fd, &about) == 0 && about.f_type == decltype(about.f_type){TMPFS_MAGIC};
  return plain ? vm_mem::FaultRecovery::kPlain : vm_mem::FaultRecovery::kRecoverable;
}

// Whole pages, of which the last may lie partly past the end of the file.
absl::StatusOr<std::unique_ptr<ForeignBytes>> ForeignBytes::map(const OwnedFd& fd,
                                                                std::uint64_t offset,
                                                                std::uint64_t bytes) {
  if (const absl::Status bad = check(fd, offset, bytes); !bad.ok()) return bad;
  constexpr std::uint64_t kPage = vm_mem::kGuestPageBytes;
  const std::uint64_t mapped = (bytes + kPage - 1) / kPage * kPage;
  void* const mapping = ::mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(),
                               static_cast<off_t>(offset));
  if (mapping == MAP_FAILED) {
    return absl::UnavailableError(absl::StrFormat("mmap: %s", std::strerror(errno)));
  }
  std::unique_ptr<ForeignBytes> made(new ForeignBytes(mapping, mapped, bytes));
  auto memory = vm_mem::MemoryManager::create({});
  if (!memory.ok()) return memory.status();
  made->memory_ = *std::move(memory);
  const auto region = made->memory_->add_ram(
      *GuestRange::make(GuestAddress{0}, mapped),
      {.backing = vm_mem::Backing::kCallerOwned,
       .fault_recovery = recovery_for(fd.get()),
       .memory = {static_cast<std::byte*>(mapping), static_cast<std::size_t>(mapped)}});
  if (!region.ok()) return region.status();
  made->reader_ = std::make_unique<vm_mem::MemoryReader>(*made->memory_, vm_mem::Route::kDma);
  return made;
}

ForeignBytes::~ForeignBytes() {
  reader_.reset();
  memory_.reset();
  ::munmap(mapping_, mapped_);
}

}  // namespace vm_device::internal
