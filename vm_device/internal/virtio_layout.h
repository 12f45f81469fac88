// Where the fields of a split virtqueue lie, and what the guest's byte order is.
//
// Source: virtio 1.2, section 2.7.
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

// Both rings begin with 16-bit flags and a 16-bit index; then come the entries; then,
// for event indices, one 16-bit field.
inline constexpr std::uint64_t kRingIndex = 2;
inline constexpr std::uint64_t kRingEntries = 4;
inline constexpr std::uint64_t kAvailableEntryBytes = 2;
inline constexpr std::uint64_t kUsedEntryBytes = 8;
inline constexpr std::uint16_t kAvailableNoInterrupt = 1;
inline constexpr std::uint16_t kUsedNoNotify = 1;

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

}  // namespace vm_device::internal

#endif  // VM_DEVICE_INTERNAL_VIRTIO_LAYOUT_H_
