#include "bench/vm_device/suite/ring_driver.h"

#include <atomic>

#include "vm_device/internal/virtio_layout.h"
#include "vm_device/virtio_features.h"

namespace vm_bench {
namespace {

using namespace vm_device::internal;

constexpr std::uint64_t kAvailableRing = kHotOffset + (std::uint64_t{64} << 10);
constexpr std::uint64_t kUsedRing = kHotOffset + (std::uint64_t{128} << 10);
constexpr std::uint64_t kBuffers = 0x10000;

struct Part {
  std::uint32_t bytes;
  std::uint16_t flags;
};
constexpr Part kRequest[kChainLength] = {
    {16, kDescriptorNext}, {4096, kDescriptorNext}, {1, kDescriptorWrite}};

void put_descriptor(std::byte* at, std::uint32_t bytes, std::uint16_t third, std::uint16_t fourth) {
  put_little_endian<std::uint64_t>(at, kBuffers);
  put_little_endian<std::uint32_t>(at + 8, bytes);
  put_little_endian<std::uint16_t>(at + 12, third);
  put_little_endian<std::uint16_t>(at + 14, fourth);
}

}  // namespace

SplitDriver::SplitDriver(DmaSide& side, std::uint16_t size)
    : size_(size), descriptors_(side.host(kHotOffset)), available_(side.host(kAvailableRing)) {}

vm_device::VirtqueueConfig SplitDriver::config() const {
  return {.size = size_,
          .descriptor_table = kHotOffset,
          .driver_area = kAvailableRing,
          .device_area = kUsedRing};
}

// Members are written once, at the end: descriptors are bytes, which might be they.
void SplitDriver::offer(std::size_t requests) {
  std::byte* const descriptors = descriptors_;
  std::byte* const entries = available_ + kRingEntries;
  const std::size_t slot_mask = size_ - std::size_t{1};
  const std::size_t next = next_;
  for (std::size_t request = 0; request < requests; ++request) {
    const std::size_t head = request * kChainLength;
    for (std::size_t i = 0; i < kChainLength; ++i) {
      const std::size_t index = head + i;
      put_descriptor(descriptors + index * kDescriptorBytes, kRequest[i].bytes, kRequest[i].flags,
                     static_cast<std::uint16_t>(index + 1));
    }
    put_little_endian<std::uint16_t>(
        entries + ((next + request) & slot_mask) * kAvailableEntryBytes,
        static_cast<std::uint16_t>(head));
  }
  next_ = static_cast<std::uint16_t>(next + requests);
  std::atomic_thread_fence(std::memory_order_release);
  put_little_endian<std::uint16_t>(available_ + kRingIndex, next_);
}

PackedDriver::PackedDriver(DmaSide& side, std::uint16_t size)
    : size_(size), ring_(side.host(kHotOffset)), turn_(kPackedAvailable) {}

vm_device::VirtqueueConfig PackedDriver::config() const {
  return {.size = size_,
          .descriptor_table = kHotOffset,
          .driver_area = kAvailableRing,
          .device_area = kUsedRing,
          .features = vm_device::kFeatureVersion1 | vm_device::kFeatureRingPacked};
}

// The device is not running meanwhile, or the first descriptor would have to be written last.
void PackedDriver::offer(std::size_t requests) {
  std::byte* const ring = ring_;
  const std::size_t size = size_;
  std::size_t next = next_;
  std::uint16_t turn = turn_;
  for (std::size_t request = 0; request < requests; ++request) {
    for (const Part& part : kRequest) {
      put_descriptor(ring + next * kDescriptorBytes, part.bytes,
                     static_cast<std::uint16_t>(request),
                     static_cast<std::uint16_t>(part.flags | turn));
      if (++next < size) [[likely]]
        continue;
      next = 0;
      turn ^= kPackedAvailable | kPackedUsed;
    }
  }
  next_ = next;
  turn_ = turn;
  std::atomic_thread_fence(std::memory_order_release);
}

}  // namespace vm_bench
