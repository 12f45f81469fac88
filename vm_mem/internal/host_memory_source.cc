#include "vm_mem/internal/host_memory_source.h"

#include <sys/mman.h>

#include <cerrno>

#include "vm_mem/internal/host_memory_error.h"
#include "vm_mem/internal/host_memory_reservation.h"

namespace vm_mem::internal {
namespace {

constexpr int kDontNeedLocked = 24;  // MADV_DONTNEED_LOCKED, from Linux 5.18

class AnonymousSource final : public PageSource {
 public:
  PageTraits traits() const override { return {.page_bytes = host_page_bytes()}; }

  absl::Status map(std::span<std::byte> part, std::size_t) const override {
    constexpr int kFlags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED;
    void* at = ::mmap(part.data(), part.size(), PROT_READ | PROT_WRITE, kFlags, -1, 0);
    return at == MAP_FAILED ? host_refused("mmap", part.size(), errno) : absl::OkStatus();
  }

  absl::Status discard(std::span<std::byte> part, std::size_t) const override {
    return drop_private_pages(part);
  }
};

class CallerOwnedSource final : public PageSource {
 public:
  PageTraits traits() const override { return {.page_bytes = host_page_bytes()}; }

  absl::Status map(std::span<std::byte>, std::size_t) const override { return absl::OkStatus(); }

  absl::Status discard(std::span<std::byte>, std::size_t) const override {
    return absl::FailedPreconditionError(
        "memory that the caller owns is the caller's to discard: fill it with zeros, or give its "
        "pages back where it was mapped");
  }

  absl::Status refresh(std::span<std::byte>, std::size_t) const override {
    return absl::OkStatus();
  }
};

}  // namespace

absl::Status PageSource::check_length(std::uint64_t) const { return absl::OkStatus(); }
absl::Status PageSource::drop(std::size_t, std::size_t) const { return absl::OkStatus(); }
absl::Status PageSource::allocate(std::size_t, std::size_t) const { return absl::OkStatus(); }

absl::Status drop_private_pages(std::span<std::byte> part) {
  if (::madvise(part.data(), part.size(), MADV_DONTNEED) == 0) return absl::OkStatus();
  if (errno != EINVAL) return host_refused("madvise(MADV_DONTNEED)", part.size(), errno);
  if (::madvise(part.data(), part.size(), kDontNeedLocked) == 0) return absl::OkStatus();
  return absl::FailedPreconditionError(
      "locked memory cannot be discarded before Linux 5.18: use PageLock::kUnlocked");
}

const PageSource& anonymous_source() {
  static const AnonymousSource source;
  return source;
}

std::unique_ptr<PageSource> caller_owned_source() { return std::make_unique<CallerOwnedSource>(); }

}  // namespace vm_mem::internal
