// The core-local interruptor of one hart: software interrupt and timer, as SiFive's.
#ifndef VMRUN_CLINT_H_
#define VMRUN_CLINT_H_

#include <cstdint>
#include <functional>
#include <utility>

#include "tools/vmrun/clock.h"
#include "tools/vmrun/interrupt_pins.h"
#include "vm_mem/mmio_handler.h"

namespace vmrun {

// msip at 0, mtimecmp at 0x4000, mtime at 0xbff8; 4 or 8 bytes wide. What belongs to
// other harts reads as zero and ignores writes.
//
// Threads:  the hart's.
class Clint final : public vm_mem::MmioHandler {
 public:
  // `rearmed` is called when the guest has changed the time or the deadline.
  //
  // Needs:  all of them outlive this object.
  Clint(Clock& clock, InterruptPins& pins, std::function<void()> rearmed)
      : clock_(&clock), pins_(&pins), rearmed_(std::move(rearmed)) {}

  vm_mem::AccessFault mmio_read(std::uint64_t offset, unsigned size, std::uint64_t& value) override;
  vm_mem::AccessFault mmio_write(std::uint64_t offset, unsigned size, std::uint64_t value) override;

  // Sets the timer pin to what the time says.
  void update();
  // Until the timer interrupt; 0 where it is there, UINT64_MAX where it never comes.
  std::uint64_t ticks_left() const;

 private:
  std::uint64_t read_register(std::uint64_t offset) const;
  void write_register(std::uint64_t offset, std::uint64_t value);

  Clock* clock_;
  InterruptPins* pins_;
  std::function<void()> rearmed_;
  std::uint64_t deadline_ = UINT64_MAX;
  std::uint32_t software_ = 0;
};

}  // namespace vmrun

#endif  // VMRUN_CLINT_H_
