#include "vm_mem/internal/host_memory_reservation.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <limits>

#include "vm_mem/internal/host_memory_error.h"

namespace vm_mem::internal {
namespace {

constexpr int kBlankFlags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;

void unmap(std::byte* begin, const std::byte* end) noexcept {
  if (begin != end) ::munmap(begin, static_cast<std::size_t>(end - begin));
}

// Cuts off what lies before the aligned content's guard and after its other guard.
HostReservation trimmed(std::span<std::byte> all, const ReservationShape& shape) {
  const auto first = reinterpret_cast<std::uintptr_t>(all.data()) + shape.guard_bytes;
  const std::size_t skipped = (shape.alignment - first % shape.alignment) % shape.alignment;
  const auto whole = all.subspan(skipped, shape.bytes + 2 * shape.guard_bytes);
  unmap(all.data(), whole.data());
  unmap(whole.data() + whole.size(), all.data() + all.size());
  return {whole, whole.subspan(shape.guard_bytes, shape.bytes)};
}

}  // namespace

std::size_t host_page_bytes() {
  static const auto bytes = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  return bytes;
}

absl::StatusOr<HostReservation> reserve_addresses(const ReservationShape& shape) {
  const std::size_t slack = shape.alignment - host_page_bytes() + 2 * shape.guard_bytes;
  if (shape.bytes > std::numeric_limits<std::size_t>::max() - slack) {
    return host_refused("mmap", shape.bytes, ENOMEM);
  }
  const std::size_t bytes = shape.bytes + slack;
  void* at = ::mmap(nullptr, bytes, PROT_NONE, kBlankFlags, -1, 0);
  if (at == MAP_FAILED) return host_refused("mmap", shape.bytes, errno);
  return trimmed({static_cast<std::byte*>(at), bytes}, shape);
}

void release_addresses(std::span<std::byte> whole) noexcept {
  unmap(whole.data(), whole.data() + whole.size());
}

absl::Status blank_addresses(std::span<std::byte> part) {
  if (part.empty()) return absl::OkStatus();
  if (::mmap(part.data(), part.size(), PROT_NONE, kBlankFlags | MAP_FIXED, -1, 0) == MAP_FAILED) {
    return host_refused("mmap", part.size(), errno);
  }
  return absl::OkStatus();
}

}  // namespace vm_mem::internal
