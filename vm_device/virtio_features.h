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

}  // namespace vm_device

#endif  // VM_DEVICE_VIRTIO_FEATURES_H_
