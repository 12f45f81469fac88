#include "bench/vm_device/vhost/disk_rings.h"

#include <atomic>

#include "vm_device/internal/virtio_layout.h"
#include "vm_device/virtio_features.h"

namespace vm_bench {
namespace {

using namespace vm_device::internal;
using vm_mem::load_host_word;
using vm_mem::store_host_word;

constexpr std::uint64_t kUsedEvent = kRingEntries + kRingSize * kAvailableEntryBytes;
constexpr std::uint64_t kAvailableEvent = kRingEntries + kRingSize * kUsedEntryBytes;

std::uint16_t load16(const std::byte* at, std::memory_order order = std::memory_order_relaxed) {
  return little_endian(load_host_word<std::uint16_t>(at, order));
}
void store16(std::byte* at, std::uint16_t value,
             std::memory_order order = std::memory_order_relaxed) {
  store_host_word(at, little_endian(value), order);
}

void put_reference(std::byte* descriptor, std::uint64_t table, std::uint32_t table_bytes) {
  put_little_endian<std::uint64_t>(descriptor, table);
  put_little_endian<std::uint32_t>(descriptor + kDescriptorLength, table_bytes);
}

// Whether `event` is among what lies between `old` and `now`.
bool has_passed(std::uint16_t event, std::uint16_t now, std::uint16_t old) {
  return static_cast<std::uint16_t>(now - event - 1) < static_cast<std::uint16_t>(now - old);
}

void full_barrier() { __sync_synchronize(); }

}  // namespace

static_assert(DiskPackedRing::kFeatures == vm_device::kFeatureRingPacked);

DiskSplitRing::DiskSplitRing(std::byte* memory, bool has_events)
    : descriptors_(memory + RingPlace::kDescriptors),
      driver_(memory + RingPlace::kDriver),
      device_(memory + RingPlace::kDevice),
      has_events_(has_events) {}

void DiskSplitRing::offer(std::uint32_t slot, std::uint64_t table, std::uint32_t table_bytes) {
  std::byte* const descriptor = descriptors_ + slot * kDescriptorBytes;
  put_reference(descriptor, table, table_bytes);
  put_little_endian<std::uint16_t>(descriptor + kDescriptorRest, kDescriptorIndirect);
  const std::size_t place = available_ % kRingSize;
  store16(driver_ + kRingEntries + place * kAvailableEntryBytes, static_cast<std::uint16_t>(slot));
  ++available_;
}

bool DiskSplitRing::publish() {
  store16(driver_ + kRingIndex, available_, std::memory_order_release);
  full_barrier();  // before the device's wish
  const std::uint16_t old = published_;
  published_ = available_;
  if (has_events_) return has_passed(load16(device_ + kAvailableEvent), available_, old);
  return available_ != old && (load16(device_) & kUsedNoNotify) == 0;
}

std::optional<Used> DiskSplitRing::take_used() {
  if (load16(device_ + kRingIndex, std::memory_order_acquire) == used_) return std::nullopt;
  const std::byte* const entry =
      device_ + kRingEntries + (used_ % kRingSize) * std::size_t{kUsedEntryBytes};
  ++used_;
  return Used{.slot = get_little_endian<std::uint32_t>(entry),
              .bytes = get_little_endian<std::uint32_t>(entry + 4)};
}

bool DiskSplitRing::ask_for_call() {
  if (has_events_) store16(driver_ + kUsedEvent, used_);
  full_barrier();  // before the look
  return load16(device_ + kRingIndex) == used_;
}

DiskPackedRing::DiskPackedRing(std::byte* memory, bool has_events)
    : descriptors_(memory + RingPlace::kDescriptors),
      driver_(memory + RingPlace::kDriver),
      device_(memory + RingPlace::kDevice),
      has_events_(has_events) {}

void DiskPackedRing::offer(std::uint32_t slot, std::uint64_t table, std::uint32_t table_bytes) {
  std::byte* const at = descriptor(available_);
  const unsigned turn = available_.wrap ? kPackedAvailable : kPackedUsed;
  const auto flags = static_cast<std::uint16_t>(kDescriptorIndirect | turn);
  put_reference(at, table, table_bytes);
  put_little_endian<std::uint16_t>(at + kPackedDescriptorId, static_cast<std::uint16_t>(slot));
  if (offered_ == 0) {
    first_ = available_;
    first_flags_ = flags;
  } else {
    store16(at + kPackedDescriptorFlags, flags);
  }
  ++offered_;
  available_.advance();
}

bool DiskPackedRing::publish() {
  if (offered_ == 0) return false;
  store16(descriptor(first_) + kPackedDescriptorFlags, first_flags_, std::memory_order_release);
  full_barrier();  // before the device's wish
  const std::uint16_t offered = offered_;
  offered_ = 0;
  const auto wish =
      little_endian(load_host_word<std::uint32_t>(device_, std::memory_order_relaxed));
  const unsigned kind = wish >> 16 & 3;
  if (kind != kEventsDescriptor) return kind != kEventsDisable;
  auto event = static_cast<std::uint16_t>(wish & kPackedPosition);
  if (((wish & 0x8000) != 0) != available_.wrap) {
    event = static_cast<std::uint16_t>(event - kRingSize);
  }
  return has_passed(event, available_.index,
                    static_cast<std::uint16_t>(available_.index - offered));
}

bool DiskPackedRing::is_used(Position at) const {
  const std::uint16_t flags =
      load16(descriptor(at) + kPackedDescriptorFlags, std::memory_order_acquire);
  const bool available = (flags & kPackedAvailable) != 0;
  const bool used = (flags & kPackedUsed) != 0;
  return available == used && used == at.wrap;
}

std::optional<Used> DiskPackedRing::take_used() {
  if (!is_used(used_)) return std::nullopt;
  const std::byte* const at = descriptor(used_);
  used_.advance();
  return Used{.slot = get_little_endian<std::uint16_t>(at + kPackedDescriptorId),
              .bytes = get_little_endian<std::uint32_t>(at + kDescriptorLength)};
}

bool DiskPackedRing::ask_for_call() {
  const std::uint32_t kind = has_events_ ? kEventsDescriptor : kEventsEnable;
  store_host_word(driver_, little_endian(kind << 16 | used_.word()), std::memory_order_relaxed);
  full_barrier();  // before the look
  return !is_used(used_);
}

}  // namespace vm_bench
