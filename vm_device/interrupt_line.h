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
  // Needs:    called from inside the device: an implementation never calls back into the
  //           device, nor waits for a thread that may be in it.
  // Threads:  one call at a time for each line, on the thread of an access or on a host
  //           thread that woke the device. The calls of one line are ordered; those of
  //           different lines may run side by side.
  virtual void set(Level level) = 0;
};

}  // namespace vm_device

#endif  // VM_DEVICE_INTERRUPT_LINE_H_
