#include "vm_engine/internal/arena_space.h"

#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <utility>

#include "absl/strings/str_format.h"
#include "vm_engine/internal/guest_memory.h"

namespace vm_engine::internal {
namespace {

// Pages of any size of the host can be mapped where the guest has them.
constexpr std::uint64_t kBaseAlignment = std::uint64_t{1} << 30;

constexpr int kNothing = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;

int host_rights(ArenaAccess access) {
  constexpr std::array<int, 3> kRights = {PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE};
  return kRights[static_cast<std::size_t>(access)];
}

absl::Status refused(std::uint64_t bytes, int error) {
  rlimit limit{};
  std::string why;
  if (getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY) {
    why = absl::StrFormat("; RLIMIT_AS is 0x%x", limit.rlim_cur);
  }
  return absl::ResourceExhaustedError(
      absl::StrFormat("mmap of 0x%x bytes of addresses failed: errno %d%s", bytes, error, why));
}

}  // namespace

absl::StatusOr<ArenaSpace> ArenaSpace::reserve(std::uint64_t bytes, std::uint64_t guard_bytes) {
  const std::uint64_t alignment = std::min(kBaseAlignment, std::uint64_t{2} << 20);
  const std::uint64_t wanted = bytes + 2 * guard_bytes;
  const std::uint64_t with_slack = wanted + (bytes >= kBaseAlignment ? kBaseAlignment : alignment);
  if (bytes > with_slack || guard_bytes > with_slack / 2) return refused(bytes, ENOMEM);
  void* const mapped = mmap(nullptr, with_slack, PROT_NONE, kNothing, -1, 0);
  if (mapped == MAP_FAILED) return refused(with_slack, errno);
  const std::uint64_t unit = with_slack - wanted;
  const auto first = reinterpret_cast<std::uintptr_t>(mapped) + guard_bytes;
  auto* const base = static_cast<std::byte*>(mapped) + guard_bytes + (unit - first % unit) % unit;
  return ArenaSpace({static_cast<std::byte*>(mapped), with_slack}, base, bytes, guard_bytes);
}

ArenaSpace::ArenaSpace(ArenaSpace&& other) noexcept
    : reserved_(std::exchange(other.reserved_, {})),
      base_(other.base_),
      bytes_(other.bytes_),
      guard_bytes_(other.guard_bytes_) {}

ArenaSpace& ArenaSpace::operator=(ArenaSpace&& other) noexcept {
  std::swap(reserved_, other.reserved_);
  std::swap(base_, other.base_);
  std::swap(bytes_, other.bytes_);
  std::swap(guard_bytes_, other.guard_bytes_);
  return *this;
}

ArenaSpace::~ArenaSpace() {
  if (!reserved_.empty()) munmap(reserved_.data(), reserved_.size());
}

bool ArenaSpace::show(std::uint64_t at, std::uint64_t bytes, const vm_mem::RegionFile& file,
                      std::uint64_t offset, ArenaAccess access) {
  return mmap(base_ + at, bytes, host_rights(access), MAP_SHARED | MAP_FIXED | MAP_NORESERVE,
              file.fd, static_cast<off_t>(file.offset + offset)) != MAP_FAILED;
}

bool ArenaSpace::show_copy(std::uint64_t at, std::span<const std::byte> content) {
  void* const mapped = mmap(base_ + at, content.size(), PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  if (mapped == MAP_FAILED) return false;
  std::memcpy(mapped, content.data(), content.size());
  return permit(at, content.size(), ArenaAccess::kRead);
}

bool ArenaSpace::hide(std::uint64_t at, std::uint64_t bytes) {
  return mmap(base_ + at, bytes, PROT_NONE, kNothing | MAP_FIXED, -1, 0) != MAP_FAILED;
}

// Past the C library, whose function a sanitizer may have replaced.
bool ArenaSpace::permit(std::uint64_t at, std::uint64_t bytes, ArenaAccess access) {
  return syscall(SYS_mprotect, base_ + at, bytes, host_rights(access)) == 0;
}

std::string unfit_host(std::size_t host_page_bytes) {
  if (host_page_bytes <= kPageBytes) return {};
  return absl::StrFormat("pages of the host have 0x%x bytes, of the guest 0x%x", host_page_bytes,
                         kPageBytes);
}

std::size_t default_mapping_budget() {
  constexpr std::size_t kUsual = 65530;
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(
      std::fopen("/proc/sys/vm/max_map_count", "re"),
      [](std::FILE* open) { return open == nullptr ? 0 : std::fclose(open); });
  std::size_t most = 0;
  if (file == nullptr || std::fscanf(file.get(), "%zu", &most) != 1) most = kUsual;
  return most / 2;
}

}  // namespace vm_engine::internal
