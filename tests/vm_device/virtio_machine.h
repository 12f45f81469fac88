// A guest with one virtio device, driven through its registers.
#ifndef TESTS_VM_DEVICE_VIRTIO_MACHINE_H_
#define TESTS_VM_DEVICE_VIRTIO_MACHINE_H_

#include <concepts>
#include <initializer_list>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tests/vm_device/driver_registers.h"
#include "tests/vm_device/driver_ring.h"
#include "tests/vm_device/guest.h"
#include "vm_device/virtio_features.h"
#include "vm_device/virtio_mmio.h"

namespace vm_device {

template <typename Device>
class VirtioMachine : public DriverRegisters {
 public:
  static constexpr std::uint64_t kConfig = kSlot + 0x100;
  static constexpr std::uint16_t kQueueSize = 16;
  static constexpr std::uint64_t kData = kRamBase + 0x6'0000;
  static constexpr std::uint64_t kHole = 0x4000'0000;

  explicit VirtioMachine(std::unique_ptr<Device> made)
      : DriverRegisters(guest), device(made.get()), slot(*guest.memory, std::move(made), line) {
    attach();
  }
  // For a device that needs the guest's memory.
  template <std::invocable<Guest&> Make>
  explicit VirtioMachine(Make make)
      : DriverRegisters(guest),
        made_(make(guest)),
        device(made_.get()),
        slot(*guest.memory, std::move(made_), line) {
    attach();
  }

  // Reset, then everything a driver does up to DRIVER_OK.
  void start(std::uint64_t features = 0) {
    negotiate(features | kFeatureVersion1 | kFeatureRingIndirect);
    for (std::size_t i = 0; i < rings.size(); ++i) set_up_queue(static_cast<std::uint32_t>(i));
    go();
  }
  // An empty ring for it.
  void set_up_queue(std::uint32_t index) {
    rings[index].clear();
    DriverRegisters::set_up_queue(rings[index].config(), index);
  }

  // A chain in the ring's own descriptors, the driver's bell included.
  void request(std::uint16_t queue, std::initializer_list<RawDescriptor> chain) {
    rings[queue].offer_chain(chain);
    kick(queue);
  }
  void put_text(std::uint64_t address, const std::string& text) {
    guest.put_bytes(address, std::as_bytes(std::span(text)));
  }
  std::string text(std::uint64_t address, std::size_t bytes) const {
    const auto from = guest.bytes(address, bytes);
    return {reinterpret_cast<const char*>(from.data()), from.size()};
  }
  std::uint16_t used(std::uint16_t queue) const { return rings[queue].used_index(); }
  // The driver was told so much of its latest answer.
  std::uint32_t written(std::uint16_t queue) const {
    return rings[queue]
        .used_entry(static_cast<std::uint16_t>((used(queue) - 1) % kQueueSize))
        .written;
  }

  Guest guest;
  RecordingLine line;

 private:
  std::unique_ptr<Device> made_;  // on its way into slot

 public:
  Device* device;  // owned by slot
  VirtioMmio slot;
  std::vector<DriverRing> rings;

 private:
  void attach() {
    EXPECT_TRUE(guest.bus.attach(guest_range(kSlot, kVirtioMmioBytes), &slot, "virtio").ok());
    for (std::uint16_t i = 0; i < device->queue_count(); ++i) {
      rings.emplace_back(guest, kRamBase + 0x1'0000 * std::uint64_t{i}, kQueueSize);
    }
  }
};

}  // namespace vm_device

#endif  // TESTS_VM_DEVICE_VIRTIO_MACHINE_H_
