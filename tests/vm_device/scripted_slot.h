// A virtio device that does what a test says, in its slot, with one ring per queue.
#ifndef TESTS_VM_DEVICE_SCRIPTED_SLOT_H_
#define TESTS_VM_DEVICE_SCRIPTED_SLOT_H_

#include <algorithm>
#include <array>
#include <functional>
#include <memory>

#include "tests/vm_device/driver_ring.h"
#include "tests/vm_device/guest.h"
#include "vm_device/virtio_features.h"
#include "vm_device/virtio_mmio.h"

namespace vm_device {

class ScriptedDevice final : public VirtioDevice {
 public:
  static constexpr std::uint16_t kQueues = 2;

  std::uint32_t device_id() const override { return 42; }
  std::uint64_t device_features() const override { return 0; }
  std::uint16_t queue_count() const override { return kQueues; }
  std::uint16_t max_queue_size(std::uint16_t) const override { return 16; }
  void read_config(std::uint64_t, std::span<std::byte> to) const override {
    std::fill(to.begin(), to.end(), shown);
  }
  void write_config(std::uint64_t, std::span<const std::byte>) override {
    if (on_write_config) on_write_config();
  }
  void take_config() override {
    if (on_take_config) on_take_config();
  }
  void connect(VirtioTransport& to) override { transport = &to; }
  void activate(VirtioTransport&) override {
    active = true;
    if (on_activate) on_activate();
  }
  void reset() override { active = false; }
  void reset_queue(std::uint16_t queue) override {
    ++resets[queue];
    if (on_reset_queue) on_reset_queue();
  }
  void notify(std::uint16_t queue) override {
    ++notifications[queue];
    if (on_notify) on_notify(queue);
  }
  // Takes a request and gives it back at once.
  void answer(std::uint16_t queue) {
    DescriptorChain chain;
    if (transport->queue(queue).pop(chain) != PopStatus::kChain) return;
    transport->queue(queue).push(chain, 0);
    transport->signal_used(queue);
  }

  VirtioTransport* transport = nullptr;
  std::function<void(std::uint16_t)> on_notify;
  std::function<void()> on_take_config;
  std::function<void()> on_write_config;
  std::function<void()> on_activate;
  std::function<void()> on_reset_queue;
  std::byte shown{0};
  bool active = false;
  std::array<int, kQueues> notifications{};
  std::array<int, kQueues> resets{};
};

// Slot `index` of the guest's bus; its rings lie in RAM of their own.
class ScriptedSlot {
 public:
  static constexpr std::uint64_t address_of(std::uint64_t index) {
    return 0x1000'1000 + index * kVirtioMmioBytes;
  }
  static constexpr std::uint64_t bell_of(std::uint64_t index) { return address_of(index) + 0x50; }

  ScriptedSlot(Guest& guest, std::uint64_t index, VirtioMmioOptions options = {})
      : device(new ScriptedDevice),
        mmio(*guest.memory, std::unique_ptr<VirtioDevice>(device), line, options),
        rings{ring_in(guest, index, 0), ring_in(guest, index, 1)},
        guest_(guest),
        base_(address_of(index)) {
    EXPECT_TRUE(guest.bus.attach(guest_range(base_, kVirtioMmioBytes), &mmio, "slot").ok());
  }

  void set(std::uint64_t offset, std::uint64_t value) {
    guest_.put(base_ + offset, static_cast<std::uint32_t>(value));
  }
  std::uint32_t get(std::uint64_t offset) const {
    return guest_.get<std::uint32_t>(base_ + offset);
  }

  std::uint64_t offered() {
    set(0x14, 1);
    const std::uint64_t high = get(0x10);
    set(0x14, 0);
    return high << 32 | get(0x10);
  }
  // Up to FEATURES_OK; the status that the driver then reads.
  std::uint32_t negotiate(std::uint64_t features) {
    set(0x70, 0);
    set(0x70, 3);
    for (const std::uint32_t select : {0u, 1u}) {
      set(0x24, select);
      set(0x20, features >> (32 * select));
    }
    set(0x70, 11);
    return get(0x70);
  }
  // The device sees the rings `shift` bytes lower than they lie.
  void set_up(std::uint16_t queue, std::uint64_t shift = 0) {
    set(0x30, queue);
    set(0x38, 16);
    set(0x80, rings[queue].table() - shift);
    set(0x90, rings[queue].available() - shift);
    set(0xa0, rings[queue].used() - shift);
    set(0x44, 1);
  }
  void start(std::uint64_t features = kFeatureVersion1, std::uint64_t shift = 0) {
    EXPECT_EQ(negotiate(features), 11u);
    for (std::uint16_t i = 0; i < ScriptedDevice::kQueues; ++i) {
      rings[i].clear();
      set_up(i, shift);
    }
    set(0x70, 15);
  }
  void ring_bell(std::uint16_t queue = 0) { set(0x50, queue); }
  // Any access: what was put off is done in it.
  void touch() { get(0x60); }

  RecordingLine line;
  ScriptedDevice* const device;  // owned by mmio
  VirtioMmio mmio;
  std::array<DriverRing, ScriptedDevice::kQueues> rings;

 private:
  static DriverRing ring_in(Guest& guest, std::uint64_t index, std::uint64_t queue) {
    return DriverRing(guest, kRamBase + 0x2'0000 * index + 0x1'0000 * queue, 16);
  }

  Guest& guest_;
  std::uint64_t base_;
};

}  // namespace vm_device

#endif  // TESTS_VM_DEVICE_SCRIPTED_SLOT_H_
