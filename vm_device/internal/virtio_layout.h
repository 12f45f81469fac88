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
inline constexpr std::uint16_t kPackedPosition = 0x7fff;
inline constexpr std::uint16_t kPackedWrap = 0x8000;  // a wrap counter beside a position
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

// A copy of what the guest wrote: the fields of a descriptor, of which the last two are one
// word. `rest` is, by form, flags and next, or buffer ID and flags.
struct Descriptor {
  std::uint64_t address;
  std::uint32_t bytes;
  std::uint32_t rest;

  unsigned flags() const { return rest & UINT16_MAX; }
  unsigned next() const { return rest >> 16; }
  unsigned packed_id() const { return rest & UINT16_MAX; }
  unsigned packed_flags() const { return rest >> 16; }

  static Descriptor decode(const std::byte* from) {
    return {get_little_endian<std::uint64_t>(from), get_little_endian<std::uint32_t>(from + 8),
            get_little_endian<std::uint32_t>(from + 12)};
  }
};
inline constexpr std::uint64_t kDescriptorLength = 8;
inline constexpr std::uint64_t kDescriptorRest = 12;
inline constexpr std::uint64_t kPackedDescriptorId = 12;
inline constexpr std::uint64_t kPackedDescriptorFlags = 14;

}  // namespace vm_device::internal

#endif  // VM_DEVICE_INTERNAL_VIRTIO_LAYOUT_H_
