// A level-triggered wire from a device to an interrupt controller.
#ifndef VM_DEVICE_INTERRUPT_LINE_H_
#define VM_DEVICE_INTERRUPT_LINE_H_

#include <cstdint>

namespace vm_device {

enum class Level : std::uint8_t { kLow, kHigh };

class InterruptLine {
 public:
  virtual ~InterruptLine() = default;

  // The device's wish; it may be repeated.
  //
  // Needs:  called with the device's lock held, on the thread of the access: an
  //         implementation never calls back into the device.
  virtual void set(Level level) = 0;
};

}  // namespace vm_device

#endif  // VM_DEVICE_INTERRUPT_LINE_H_
