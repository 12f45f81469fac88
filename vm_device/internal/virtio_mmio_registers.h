// Offsets and bits of the virtio-mmio registers.
//
// Source: virtio 1.2, sections 2.1 and 4.2.2.
#ifndef VM_DEVICE_INTERNAL_VIRTIO_MMIO_REGISTERS_H_
#define VM_DEVICE_INTERNAL_VIRTIO_MMIO_REGISTERS_H_

#include <cstdint>

namespace vm_device::internal {

inline constexpr std::uint64_t kRegMagic = 0x000;
inline constexpr std::uint64_t kRegVersion = 0x004;
inline constexpr std::uint64_t kRegDeviceId = 0x008;
inline constexpr std::uint64_t kRegVendorId = 0x00c;
inline constexpr std::uint64_t kRegDeviceFeatures = 0x010;
inline constexpr std::uint64_t kRegDeviceFeaturesSelect = 0x014;
inline constexpr std::uint64_t kRegDriverFeatures = 0x020;
inline constexpr std::uint64_t kRegDriverFeaturesSelect = 0x024;
inline constexpr std::uint64_t kRegQueueSelect = 0x030;
inline constexpr std::uint64_t kRegQueueSizeMax = 0x034;
inline constexpr std::uint64_t kRegQueueSize = 0x038;
inline constexpr std::uint64_t kRegQueueReady = 0x044;
inline constexpr std::uint64_t kRegQueueNotify = 0x050;
inline constexpr std::uint64_t kRegInterruptStatus = 0x060;
inline constexpr std::uint64_t kRegInterruptAck = 0x064;
inline constexpr std::uint64_t kRegStatus = 0x070;
inline constexpr std::uint64_t kRegQueueDescLow = 0x080;
inline constexpr std::uint64_t kRegQueueDescHigh = 0x084;
inline constexpr std::uint64_t kRegQueueDriverLow = 0x090;
inline constexpr std::uint64_t kRegQueueDriverHigh = 0x094;
inline constexpr std::uint64_t kRegQueueDeviceLow = 0x0a0;
inline constexpr std::uint64_t kRegQueueDeviceHigh = 0x0a4;
inline constexpr std::uint64_t kRegSharedLengthLow = 0x0b0;
inline constexpr std::uint64_t kRegSharedLengthHigh = 0x0b4;
inline constexpr std::uint64_t kRegSharedBaseLow = 0x0b8;
inline constexpr std::uint64_t kRegSharedBaseHigh = 0x0bc;
inline constexpr std::uint64_t kRegQueueReset = 0x0c0;
inline constexpr std::uint64_t kRegConfigGeneration = 0x0fc;
inline constexpr std::uint64_t kRegConfig = 0x100;

inline constexpr std::uint32_t kMagic = 0x74726976;  // "virt"
inline constexpr std::uint32_t kVersion = 2;
inline constexpr std::uint32_t kVendorId = 0x4d454d56;  // "VMEM"

inline constexpr std::uint32_t kInterruptUsed = 1;
inline constexpr std::uint32_t kInterruptConfig = 2;

inline constexpr std::uint32_t kStatusDriverOk = 4;
inline constexpr std::uint32_t kStatusFeaturesOk = 8;
inline constexpr std::uint32_t kStatusNeedsReset = 64;

}  // namespace vm_device::internal

#endif  // VM_DEVICE_INTERNAL_VIRTIO_MMIO_REGISTERS_H_
