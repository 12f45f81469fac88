// When a packed ring interrupts its driver, and is notified.

#include <utility>

#include "vm_device/internal/packed_ring.h"

namespace vm_device::internal {
namespace {

constexpr std::uint32_t position(std::uint16_t counted) { return counted & kPackedPosition; }

// From one to the other, both of them in a ring of `size`; more than that where `to` is behind.
constexpr std::uint32_t distance(std::uint16_t from, std::uint16_t to, std::uint32_t size) {
  const std::uint32_t wrapped = ((from ^ to) & kPackedWrap) != 0 ? size : 0;
  return position(to) + wrapped - position(from);
}

}  // namespace

std::uint16_t PackedRing::published() const {
  const std::uint16_t next = state().next_used;
  const std::uint16_t staged = position_of(staged_);
  if (staged <= position(next)) return static_cast<std::uint16_t>(next - staged);
  return static_cast<std::uint16_t>((next ^ kPackedWrap) + size_ - staged);
}

bool PackedRing::wants_interrupt() {
  if (unsignalled_ == 0) return false;
  full_barrier();  // as in the split form
  const auto passed = static_cast<std::uint32_t>(std::exchange(unsignalled_, 0) / kDescriptorBytes);
  std::uint32_t wish = 0;
  const bool loaded = on_path(
      [&](auto path) { return path.load(RingPart::kDriver, 0, wish, std::memory_order_relaxed); });
  if (!loaded) return unreachable();
  const std::uint32_t flags = wish >> 16 & 3;
  if (flags == kEventsDisable) return false;
  if (flags != kEventsDescriptor || !has(kFeatureRingEventIdx)) return true;
  // How far the descriptor that the driver named lies behind the last one that it sees used.
  // Within one lap wrap counters tell which came first.
  if (passed >= size_) return true;
  const auto event = static_cast<std::uint16_t>(wish);
  return distance(event, published(), size_) - 1 < passed;
}

void PackedRing::suppress_notifications() {
  if (!is_taking()) return;
  on_path([&](auto path) {
    const std::uint32_t wish = std::uint32_t{kEventsDisable} << 16;
    if (!path.store(RingPart::kDevice, 0, wish, std::memory_order_relaxed)) unreachable();
  });
}

bool PackedRing::resume_notifications() {
  if (!is_taking()) return false;
  const std::uint32_t wish = has(kFeatureRingEventIdx)
                                 ? std::uint32_t{kEventsDescriptor} << 16 | state().next_available
                                 : std::uint32_t{kEventsEnable} << 16;
  std::uint32_t first = 0;
  const bool told = on_path([&](auto path) {
    return path.store(RingPart::kDevice, 0, wish, std::memory_order_seq_cst) &&
           path.load(RingPart::kDescriptors, available_at_ + kDescriptorRest, first,
                     std::memory_order_seq_cst);
  });
  return told ? is_available(first) : unreachable();
}

}  // namespace vm_device::internal
