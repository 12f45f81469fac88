// A guest with one virtio device, driven through its registers.
#ifndef TESTS_VM_DEVICE_VIRTIO_MACHINE_H_
#define TESTS_VM_DEVICE_VIRTIO_MACHINE_H_

#include <concepts>
#include <initializer_list>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tests/vm_device/driver_ring.h"
#include "tests/vm_device/guest.h"
#include "vm_device/virtio_features.h"
#include "vm_device/virtio_mmio.h"

namespace vm_device {

template <typename Device>
class VirtioMachine {
 public:
  static constexpr std::uint64_t kRegisters = 0x1000'1000;
  static constexpr std::uint64_t kConfig = kRegisters + 0x100;
  static constexpr std::uint16_t kQueueSize = 16;
  static constexpr std::uint64_t kData = kRamBase + 0x6'0000;
  static constexpr std::uint64_t kHole = 0x4000'0000;

  explicit VirtioMachine(std::unique_ptr<Device> made)
      : device(made.get()), slot(*guest.memory, std::move(made), line) {
    attach();
  }
  // For a device that needs the guest's memory.
  template <std::invocable<Guest&> Make>
  explicit VirtioMachine(Make make)
      : made_(make(guest)), device(made_.get()), slot(*guest.memory, std::move(made_), line) {
    attach();
  }

  std::uint32_t reg(std::uint64_t offset) const {
    return guest.get<std::uint32_t>(kRegisters + offset);
  }
  void set_reg(std::uint64_t offset, std::uint32_t value) { guest.put(kRegisters + offset, value); }
  void set_reg64(std::uint64_t offset, std::uint64_t value) {
    set_reg(offset, static_cast<std::uint32_t>(value));
    set_reg(offset + 4, static_cast<std::uint32_t>(value >> 32));
  }
  template <typename T>
  T config(std::uint64_t offset) const {
    return guest.get<T>(kConfig + offset);
  }
  std::uint64_t offered_features() {
    set_reg(0x14, 1);
    const std::uint64_t high = reg(0x10);
    set_reg(0x14, 0);
    return high << 32 | reg(0x10);
  }

  // Reset, then everything a driver does up to DRIVER_OK.
  void start(std::uint64_t features = 0) {
    set_reg(0x70, 0);
    set_reg(0x70, 3);
    features |= kFeatureVersion1 | kFeatureRingIndirect;
    for (std::uint32_t select : {0u, 1u}) {
      set_reg(0x24, select);
      set_reg(0x20, static_cast<std::uint32_t>(features >> (32 * select)));
    }
    set_reg(0x70, 11);
    EXPECT_EQ(reg(0x70), 11u);
    for (std::size_t i = 0; i < rings.size(); ++i) set_up_queue(static_cast<std::uint32_t>(i));
    set_reg(0x70, 15);
  }
  void kick(std::uint32_t queue) { set_reg(0x50, queue); }

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

  bool needs_reset() const { return (reg(0x70) & 64) != 0; }
  bool config_interrupt() const { return (reg(0x60) & 2) != 0; }
  void acknowledge() { set_reg(0x64, 3); }

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
    EXPECT_TRUE(guest.bus.attach(guest_range(kRegisters, kVirtioMmioBytes), &slot, "virtio").ok());
    for (std::uint16_t i = 0; i < device->queue_count(); ++i) {
      rings.emplace_back(guest, kRamBase + 0x1'0000 * std::uint64_t{i}, kQueueSize);
    }
  }
  void set_up_queue(std::uint32_t index) {
    rings[index].clear();
    const VirtqueueConfig config = rings[index].config();
    set_reg(0x30, index);
    set_reg(0x38, config.size);
    set_reg64(0x80, config.descriptor_table);
    set_reg64(0x90, config.driver_area);
    set_reg64(0xa0, config.device_area);
    set_reg(0x44, 1);
  }
};

}  // namespace vm_device

#endif  // TESTS_VM_DEVICE_VIRTIO_MACHINE_H_
