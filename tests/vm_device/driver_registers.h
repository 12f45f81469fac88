// The registers of a virtio-mmio slot, as a driver uses them.
#ifndef TESTS_VM_DEVICE_DRIVER_REGISTERS_H_
#define TESTS_VM_DEVICE_DRIVER_REGISTERS_H_

#include <cstdint>

#include "tests/vm_device/guest.h"
#include "vm_device/virtqueue.h"

namespace vm_device {

inline constexpr std::uint64_t kSlot = 0x1000'1000;

class DriverRegisters {
 public:
  explicit DriverRegisters(Guest& guest, std::uint64_t slot = kSlot)
      : registers_of_(&guest), slot_address_(slot) {}

  std::uint32_t reg(std::uint64_t offset) const {
    return registers_of_->get<std::uint32_t>(slot_address_ + offset);
  }
  void set_reg(std::uint64_t offset, std::uint32_t value) {
    registers_of_->put(slot_address_ + offset, value);
  }
  void set_reg64(std::uint64_t offset, std::uint64_t value) {
    set_reg(offset, static_cast<std::uint32_t>(value));
    set_reg(offset + 4, static_cast<std::uint32_t>(value >> 32));
  }
  template <typename T>
  T config(std::uint64_t offset) const {
    return registers_of_->get<T>(slot_address_ + 0x100 + offset);
  }

  std::uint64_t offered_features() {
    set_reg(0x14, 1);
    const std::uint64_t high = reg(0x10);
    set_reg(0x14, 0);
    return high << 32 | reg(0x10);
  }
  void accept(std::uint64_t features) {
    for (std::uint32_t select : {0u, 1u}) {
      set_reg(0x24, select);
      set_reg(0x20, static_cast<std::uint32_t>(features >> (32 * select)));
    }
  }
  void set_up_queue(const VirtqueueConfig& config, std::uint32_t queue = 0) {
    set_reg(0x30, queue);
    set_reg(0x38, config.size);
    set_reg64(0x80, config.descriptor_table);
    set_reg64(0x90, config.driver_area);
    set_reg64(0xa0, config.device_area);
    set_reg(0x44, 1);
  }
  // Reset, then what a driver does before it sets up queues; go() comes after.
  void negotiate(std::uint64_t features) {
    set_reg(0x70, 0);
    set_reg(0x70, 1);
    set_reg(0x70, 3);
    accept(features);
    set_reg(0x70, 11);
    EXPECT_EQ(reg(0x70), 11u);
  }
  void go() { set_reg(0x70, 15); }
  void kick(std::uint32_t queue = 0) { set_reg(0x50, queue); }

  bool needs_reset() const { return (reg(0x70) & 64) != 0; }
  bool config_interrupt() const { return (reg(0x60) & 2) != 0; }
  void acknowledge() { set_reg(0x64, 3); }

 private:
  Guest* registers_of_;
  std::uint64_t slot_address_;
};

}  // namespace vm_device

#endif  // TESTS_VM_DEVICE_DRIVER_REGISTERS_H_
