// A guest with the IOMMU device, two endpoints behind it, and what a driver asks of it.
#ifndef TESTS_VM_DEVICE_VIRTIO_IOMMU_DRIVER_H_
#define TESTS_VM_DEVICE_VIRTIO_IOMMU_DRIVER_H_

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "tests/vm_device/virtio_machine.h"
#include "vm_device/dma.h"
#include "vm_device/virtio_iommu.h"

namespace vm_device {

inline constexpr IommuDeviceId kDisk{8};
inline constexpr IommuDeviceId kNic{9};
inline constexpr std::uint64_t kAllFeatures = 0x77;
inline constexpr std::uint64_t kIova = 0x10000;

enum IommuStatus : int {
  kOk,
  kIoError,
  kUnsupported,
  kDeviceError,
  kInvalid,
  kRange,
  kNoEntry,
  kFault,
  kNoMemory
};
inline constexpr int kSilence = -1;  // given back with nothing written

using Words = std::vector<std::uint32_t>;

inline Words operator+(Words list, std::uint64_t value) {
  list.push_back(static_cast<std::uint32_t>(value));
  list.push_back(static_cast<std::uint32_t>(value >> 32));
  return list;
}

class VirtioIommuDriver : public testing::Test {
 protected:
  using Machine = VirtioMachine<VirtioIommu>;
  static constexpr std::uint64_t kReadable = Machine::kData;
  static constexpr std::uint64_t kWritable = Machine::kData + 0x1000;
  static constexpr std::uint64_t kEvents = Machine::kData + 0x2000;
  static constexpr std::uint64_t kTarget = Machine::kData + 0x10000;  // what endpoints reach

  void make(VirtioIommuOptions options = {}, IommuOptions iommu_options = {}) {
    iommu = std::move(Iommu::create(iommu_options).value());
    const std::array endpoints{kDisk, kNic};
    machine = std::make_unique<Machine>(
        std::move(VirtioIommu::create(*iommu, endpoints, std::move(options)).value()));
    machine->start(kAllFeatures);
    disk.emplace(*machine->guest.memory, *iommu, kDisk);
    nic.emplace(*machine->guest.memory, *iommu, kNic);
  }

  // The status that the driver finds, or kSilence.
  int request(const Words& words, std::uint32_t room = 4) {
    machine->guest.put_bytes(kReadable, std::as_bytes(std::span(words)));
    machine->guest.put_bytes(kWritable, std::vector<std::byte>(256, std::byte{0xee}));
    const auto bytes = static_cast<std::uint32_t>(words.size() * 4);
    machine->request(0, {{kReadable, bytes, 0, 0}, {kWritable, room, kWrite, 0}});
    if (machine->written(0) == 0) return kSilence;
    const std::uint32_t tail =
        machine->guest.get<std::uint32_t>(kWritable + machine->written(0) - 4);
    EXPECT_EQ(tail >> 8, 0u);
    return static_cast<int>(tail);
  }
  int attach(std::uint32_t domain, IommuDeviceId endpoint, std::uint32_t flags = 0) {
    return request({1, domain, endpoint.value, flags, 0});
  }
  int detach(std::uint32_t domain, IommuDeviceId endpoint) {
    return request({2, domain, endpoint.value, 0, 0});
  }
  int map(std::uint32_t domain, std::uint64_t first, std::uint64_t last, std::uint64_t to,
          std::uint32_t flags = 3) {
    Words words = Words{3, domain} + first + last + to;
    words.push_back(flags);
    return request(words);
  }
  int unmap(std::uint32_t domain, std::uint64_t first, std::uint64_t last) {
    Words words = Words{4, domain} + first + last;
    words.push_back(0);
    return request(words);
  }
  DmaFault reach(DmaSpace& dma, std::uint64_t iova) {
    return dma.store(iova, std::uint32_t{7}).fault;
  }
  void offer_events(int count, std::uint32_t bytes = 24) {
    for (int i = 0; i < count; ++i) {
      const std::uint16_t slot = static_cast<std::uint16_t>(i);
      machine->rings[1].describe(slot, {kEvents + 64 * std::uint64_t{slot}, bytes, kWrite, 0});
      machine->rings[1].offer(slot);
    }
    machine->kick(1);
  }
  template <typename T>
  T event(std::uint64_t offset, std::uint64_t index = 0) {
    return machine->guest.get<T>(kEvents + 64 * index + offset);
  }

  std::unique_ptr<Iommu> iommu;
  std::unique_ptr<Machine> machine;
  std::optional<DmaSpace> disk, nic;
};

}  // namespace vm_device

#endif  // TESTS_VM_DEVICE_VIRTIO_IOMMU_DRIVER_H_
