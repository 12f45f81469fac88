// What the block device and its driver agree on: features, requests, the configuration
// space.
//
// Source: virtio 1.2, section 5.2.
#ifndef VM_DEVICE_INTERNAL_BLK_LAYOUT_H_
#define VM_DEVICE_INTERNAL_BLK_LAYOUT_H_

#include <cstddef>
#include <cstdint>

namespace vm_device::internal {

inline constexpr std::uint64_t kBlkFeatureSegMax = 1 << 2;
inline constexpr std::uint64_t kBlkFeatureReadOnly = 1 << 5;
inline constexpr std::uint64_t kBlkFeatureBlkSize = 1 << 6;
inline constexpr std::uint64_t kBlkFeatureFlush = 1 << 9;
inline constexpr std::uint64_t kBlkFeatureTopology = 1 << 10;
inline constexpr std::uint64_t kBlkFeatureConfigWce = 1 << 11;
inline constexpr std::uint64_t kBlkFeatureMq = 1 << 12;
inline constexpr std::uint64_t kBlkFeatureDiscard = 1 << 13;
inline constexpr std::uint64_t kBlkFeatureWriteZeroes = 1 << 14;

inline constexpr std::uint32_t kBlkTypeIn = 0;
inline constexpr std::uint32_t kBlkTypeOut = 1;
inline constexpr std::uint32_t kBlkTypeFlush = 4;
inline constexpr std::uint32_t kBlkTypeGetId = 8;
inline constexpr std::uint32_t kBlkTypeDiscard = 11;
inline constexpr std::uint32_t kBlkTypeWriteZeroes = 13;

inline constexpr std::size_t kBlkHeaderBytes = 16;
inline constexpr std::uint64_t kBlkStatusBytes = 1;
inline constexpr std::size_t kBlkSerialBytes = 20;

// A range of a discard or write-zeroes request: sector, number of sectors, flags.
inline constexpr std::size_t kBlkRangeBytes = 16;
inline constexpr std::uint32_t kBlkRangeUnmap = 1;

enum class BlkAnswer : std::uint8_t { kOk = 0, kIoError = 1, kUnsupported = 2 };

// What one request may ask for. An image that cannot zero quickly writes as much as the
// longest read or write moves.
inline constexpr std::uint32_t kBlkMaxDiscardRanges = 64;
inline constexpr std::uint32_t kBlkMaxDiscardSectors = 1u << 22;
inline constexpr std::uint32_t kBlkMaxZeroRanges = 16;
inline constexpr std::uint32_t kBlkMaxZeroSectors = 1u << 19;

// Offsets in the configuration space.
inline constexpr std::size_t kBlkConfigCapacity = 0;
inline constexpr std::size_t kBlkConfigSegMax = 12;
inline constexpr std::size_t kBlkConfigBlkSize = 20;
inline constexpr std::size_t kBlkConfigPhysicalExponent = 24;
inline constexpr std::size_t kBlkConfigMinIoSize = 26;
inline constexpr std::size_t kBlkConfigWriteback = 32;
inline constexpr std::size_t kBlkConfigNumQueues = 34;
inline constexpr std::size_t kBlkConfigMaxDiscardSectors = 36;
inline constexpr std::size_t kBlkConfigMaxDiscardRanges = 40;
inline constexpr std::size_t kBlkConfigDiscardAlignment = 44;
inline constexpr std::size_t kBlkConfigMaxZeroSectors = 48;
inline constexpr std::size_t kBlkConfigMaxZeroRanges = 52;
inline constexpr std::size_t kBlkConfigZeroMayUnmap = 56;
inline constexpr std::size_t kBlkConfigBytes = 60;

}  // namespace vm_device::internal

#endif  // VM_DEVICE_INTERNAL_BLK_LAYOUT_H_
