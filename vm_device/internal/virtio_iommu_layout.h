// Requests, events and configuration of the virtio IOMMU device.
//
// Source: virtio 1.2, section 5.13.
#ifndef VM_DEVICE_INTERNAL_VIRTIO_IOMMU_LAYOUT_H_
#define VM_DEVICE_INTERNAL_VIRTIO_IOMMU_LAYOUT_H_

#include <cstddef>
#include <cstdint>

namespace vm_device::internal {

inline constexpr std::uint64_t kIommuInputRange = 1 << 0;
inline constexpr std::uint64_t kIommuDomainRange = 1 << 1;
inline constexpr std::uint64_t kIommuMapUnmap = 1 << 2;
inline constexpr std::uint64_t kIommuProbe = 1 << 4;
inline constexpr std::uint64_t kIommuMmio = 1 << 5;
inline constexpr std::uint64_t kIommuBypassConfig = 1 << 6;

inline constexpr std::size_t kIommuConfigBytes = 40;
inline constexpr std::size_t kIommuConfigBypass = 36;

enum class IommuRequest : std::uint8_t { kAttach = 1, kDetach, kMap, kUnmap, kProbe };

// Of the part that the device reads.
inline constexpr std::size_t kIommuHeadBytes = 4;
inline constexpr std::size_t kIommuAttachBytes = 20;
inline constexpr std::size_t kIommuDetachBytes = 20;
inline constexpr std::size_t kIommuMapBytes = 36;
inline constexpr std::size_t kIommuUnmapBytes = 28;
inline constexpr std::size_t kIommuProbeBytes = 72;

// Of the part that it writes, behind the properties of a probe: the status and zeros.
inline constexpr std::size_t kIommuTailBytes = 4;

enum class IommuStatus : std::uint8_t {
  kOk,
  kIoError,      // the request cannot be read, or the answer not be written
  kUnsupported,  // not negotiated
  kDeviceError,
  kInvalid,
  kRange,
  kNoEntry,
  kFault,  // guest addresses past 2^64
  kNoMemory,
};

inline constexpr std::uint32_t kIommuAttachBypass = 1;
inline constexpr std::uint32_t kIommuMapRead = 1;
inline constexpr std::uint32_t kIommuMapWrite = 2;
inline constexpr std::uint32_t kIommuMapMmio = 4;

inline constexpr std::uint16_t kIommuReservedProperty = 1;
inline constexpr std::size_t kIommuReservedBytes = 24;  // with its header of 4

inline constexpr std::size_t kIommuFaultBytes = 24;
inline constexpr std::uint8_t kIommuFaultDomain = 1;
inline constexpr std::uint8_t kIommuFaultMapping = 2;
inline constexpr std::uint32_t kIommuFaultRead = 1 << 0;
inline constexpr std::uint32_t kIommuFaultWrite = 1 << 1;
inline constexpr std::uint32_t kIommuFaultAddress = 1 << 8;

}  // namespace vm_device::internal

#endif  // VM_DEVICE_INTERNAL_VIRTIO_IOMMU_LAYOUT_H_
