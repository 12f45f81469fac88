// Feature bits that every virtio device shares.
//
// Source: virtio 1.2, section 6.
#ifndef VM_DEVICE_VIRTIO_FEATURES_H_
#define VM_DEVICE_VIRTIO_FEATURES_H_

#include <cstdint>

namespace vm_device {

inline constexpr std::uint64_t kFeatureRingIndirect = std::uint64_t{1} << 28;
inline constexpr std::uint64_t kFeatureRingEventIdx = std::uint64_t{1} << 29;
inline constexpr std::uint64_t kFeatureVersion1 = std::uint64_t{1} << 32;
// The device's DMA passes what the platform puts in its way, e.g. an IOMMU.
inline constexpr std::uint64_t kFeatureAccessPlatform = std::uint64_t{1} << 33;
inline constexpr std::uint64_t kFeatureRingPacked = std::uint64_t{1} << 34;
// Requests are answered in the order in which they were made available.
inline constexpr std::uint64_t kFeatureInOrder = std::uint64_t{1} << 35;
// A notification says how far the driver is, not just which queue.
inline constexpr std::uint64_t kFeatureNotificationData = std::uint64_t{1} << 38;
// The driver can reset one queue.
inline constexpr std::uint64_t kFeatureRingReset = std::uint64_t{1} << 40;

}  // namespace vm_device

#endif  // VM_DEVICE_VIRTIO_FEATURES_H_
