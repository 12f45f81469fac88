// What a device of a test needs besides what it is for.
#ifndef TESTS_VM_DEVICE_TOY_DEVICE_H_
#define TESTS_VM_DEVICE_TOY_DEVICE_H_

#include <cstddef>
#include <cstdint>
#include <span>

#include "vm_device/virtio_device.h"

namespace vm_device {

// One queue of 16 descriptors, no features and no configuration.
class ToyDevice : public VirtioDevice {
 public:
  std::uint32_t device_id() const override { return 2; }
  std::uint64_t device_features() const override { return 0; }
  std::uint16_t queue_count() const override { return 1; }
  std::uint16_t max_queue_size(std::uint16_t) const override { return 16; }
  void read_config(std::uint64_t, std::span<std::byte>) const override {}
  void write_config(std::uint64_t, std::span<const std::byte>) override {}
  void activate(VirtioTransport& transport) override { transport_ = &transport; }
  void reset() override {}

 protected:
  VirtioTransport* transport_ = nullptr;
};

}  // namespace vm_device

#endif  // TESTS_VM_DEVICE_TOY_DEVICE_H_
