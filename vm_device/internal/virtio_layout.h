// Where the fields of a virtqueue lie, and what the guest's byte order is.
//
// Source: virtio 1.2, sections 2.7 and 2.8.
#ifndef VM_DEVICE_INTERNAL_VIRTIO_LAYOUT_H_
#define VM_DEVICE_INTERNAL_VIRTIO_LAYOUT_H_

#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "vm_mem/guest_word.h"

namespace vm_device::internal {

inline constexpr std::uint64_t kDescriptorBytes = 16;
inline constexpr std::uint16_t kDescriptorNext = 1;
inline constexpr std::uint16_t kDescriptorWrite = 2;
inline constexpr std::uint16_t kDescriptorIndirect = 4;

// A split virtqueue. Both rings begin with 16-bit flags and a 16-bit index; then come the entries;
// then, for event indices, one 16-bit field.
inline constexpr std::uint64_t kRingIndex = 2;
inline constexpr std::uint64_t kRingEntries = 4;
inline constexpr std::uint64_t kAvailableEntryBytes = 2;
inline constexpr std::uint64_t kUsedEntryBytes = 8;
inline constexpr std::uint16_t kAvailableNoInterrupt = 1;
inline constexpr std::uint16_t kUsedNoNotify = 1;

// A packed one. The flags that make a descriptor available or used, against the wrap
// counter of whoever looks; and the two words of event suppression, which lie together.
inline constexpr std::uint16_t kPackedAvailable = 1 << 7;
inline constexpr std::uint16_t kPackedUsed = 1 << 15;
inline constexpr std::uint16_t kPackedPosition = 0x7fff;  // the rest is a wrap counter
inline constexpr std::uint64_t kEventBytes = 4;
inline constexpr std::uint16_t kEventsEnable = 0;
inline constexpr std::uint16_t kEventsDisable = 1;
inline constexpr std::uint16_t kEventsDescriptor = 2;

// Between the host's byte order and the little-endian one of virtio.
template <std::unsigned_integral T>
constexpr T little_endian(T value) {
  return std::endian::native == std::endian::little ? value : vm_mem::byte_swapped(value);
}

template <std::unsigned_integral T>
T get_little_endian(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return little_endian(value);
}

template <std::unsigned_integral T>
void put_little_endian(std::byte* to, T value) {
  value = little_endian(value);
  std::memcpy(to, &value, sizeof value);
}

// A copy of what the guest wrote: the two little-endian words of a descriptor, split or
// packed, each read whole.
struct Descriptor {
  std::uint64_t address;
  std::uint64_t rest;  // length, then by form: flags and next; buffer ID and flags

  std::uint32_t bytes() const { return static_cast<std::uint32_t>(rest); }
  std::uint16_t flags() const { return static_cast<std::uint16_t>(rest >> 32); }
  std::uint16_t next() const { return static_cast<std::uint16_t>(rest >> 48); }
  std::uint16_t packed_id() const { return static_cast<std::uint16_t>(rest >> 32); }
  std::uint16_t packed_flags() const { return static_cast<std::uint16_t>(rest >> 48); }

  static Descriptor decode(const std::byte* from) {
    return {get_little_endian<std::uint64_t>(from), get_little_endian<std::uint64_t>(from + 8)};
  }
};

}  // namespace vm_device::internal

#endif  // VM_DEVICE_INTERNAL_VIRTIO_LAYOUT_H_
