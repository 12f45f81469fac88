// The core-local interruptor: software interrupts and timers of all harts, as SiFive's.
#ifndef VMRUN_CLINT_H_
#define VMRUN_CLINT_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "tools/vmrun/clock.h"
#include "tools/vmrun/interrupt_pins.h"
#include "vm_device/state_bytes.h"
#include "vm_mem/mmio_handler.h"

namespace vmrun {

// msip of hart n at 4n, mtimecmp at 0x4000 + 8n, mtime at 0xbff8; 4 or 8 bytes wide. What
// belongs to harts that there are not reads as zero and ignores writes.
//
// Threads:  the harts'.
class Clint final : public vm_mem::MmioHandler {
 public:
  struct Port {
    Clock* clock = nullptr;
    InterruptPins* pins = nullptr;
  };

  // `rearmed` is called when the guest has changed the time, a deadline, or a software
  // interrupt.
  //
  // Needs:  one port or more, in the order of the harts; they outlive this object.
  Clint(const std::vector<Port>& ports, std::function<void()> rearmed);

  vm_mem::AccessFault mmio_read(std::uint64_t offset, unsigned size, std::uint64_t& value) override;
  vm_mem::AccessFault mmio_write(std::uint64_t offset, unsigned size, std::uint64_t value) override;

  // Whose clock mtime shows: the hart that runs.
  void run_on(std::size_t hart) { running_ = hart; }
  // Sets the timer pins to what the time says.
  void update();
  // Until the hart's timer interrupt; 0 where it is there, UINT64_MAX where it never comes.
  std::uint64_t ticks_left(std::size_t hart) const;

  // For a snapshot. What was refused, the reader says.
  void save(vm_device::StateWriter& to) const;
  void load(vm_device::StateReader& from);

 private:
  template <typename Archive, typename Self>
  static void fields(Archive& archive, Self& self);
  struct Hart {
    Port port;
    std::uint64_t deadline = UINT64_MAX;
    bool software = false;
  };

  std::uint64_t software_pair(std::uint64_t first) const;
  static void drive_software(const Hart& hart);
  void set_software_pair(std::uint64_t first, std::uint64_t value);
  std::uint64_t read_register(std::uint64_t offset) const;
  void write_register(std::uint64_t offset, std::uint64_t value);

  std::vector<Hart> harts_;
  std::function<void()> rearmed_;
  std::size_t running_ = 0;
};

}  // namespace vmrun

#endif  // VMRUN_CLINT_H_
