// Ranges of host addresses that are ours alone. What is not mapped inside them is
// inaccessible, so that memory can grow there and guard pages cost nothing.
#ifndef VM_MEM_INTERNAL_HOST_MEMORY_RESERVATION_H_
#define VM_MEM_INTERNAL_HOST_MEMORY_RESERVATION_H_

#include <cstddef>
#include <span>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace vm_mem::internal {

std::size_t host_page_bytes();

// The alignment that lets the host use transparent huge pages.
inline constexpr std::size_t kHugeAlignment = std::size_t{2} << 20;

struct ReservationShape {
  std::size_t bytes = 0;        // of content; a multiple of the host page
  std::size_t alignment = 0;    // of content: a power of two, at least the host page
  std::size_t guard_bytes = 0;  // before and after it; a multiple of the host page
};

struct HostReservation {
  std::span<std::byte> whole;
  std::span<std::byte> content;
};

// Errors:  kResourceExhausted.
absl::StatusOr<HostReservation> reserve_addresses(const ReservationShape& shape);
void release_addresses(std::span<std::byte> whole) noexcept;

// Makes `part` of a reservation inaccessible, and gives its pages back.
//
// Errors:  kResourceExhausted; nothing changed.
absl::Status blank_addresses(std::span<std::byte> part);

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_HOST_MEMORY_RESERVATION_H_
