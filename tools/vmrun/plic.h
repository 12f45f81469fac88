// The platform-level interrupt controller, with one context: M-mode of hart 0.
#ifndef VMRUN_PLIC_H_
#define VMRUN_PLIC_H_

#include <array>
#include <cstdint>
#include <mutex>

#include "tools/vmrun/interrupt_pins.h"
#include "vm_device/interrupt_line.h"
#include "vm_mem/mmio_handler.h"

namespace vmrun {

// Level-triggered sources 1 to kSources. The gateway of a source that has been claimed
// stays shut until the claim is completed. A level that falls before the claim takes its
// request back, as on QEMU; the specification would keep it pending. Registers are 4 bytes wide; those of other
// contexts read as zero and ignore writes.
//
// Threads:  any number at a time.
// Source:   RISC-V Platform-Level Interrupt Controller Specification 1.0.0.
class Plic final : public vm_mem::MmioHandler {
 public:
  static constexpr unsigned kSources = 31;
  static constexpr unsigned kMaxPriority = 7;

  // Needs:  `pins` outlives this object.
  explicit Plic(InterruptPins& pins);

  // Needs:  1 <= source <= kSources.
  vm_device::InterruptLine& line(unsigned source) { return lines_[source]; }

  vm_mem::AccessFault mmio_read(std::uint64_t offset, unsigned size, std::uint64_t& value) override;
  vm_mem::AccessFault mmio_write(std::uint64_t offset, unsigned size, std::uint64_t value) override;

 private:
  class Line final : public vm_device::InterruptLine {
   public:
    void connect(Plic& plic, unsigned source) { plic_ = &plic, source_ = source; }
    void set(vm_device::Level level) override { plic_->set_level(source_, level); }

   private:
    Plic* plic_ = nullptr;
    unsigned source_ = 0;
  };

  void set_level(unsigned source, vm_device::Level level);
  std::uint32_t read_register(std::uint64_t offset);
  void write_register(std::uint64_t offset, std::uint32_t value);
  std::uint32_t claim();
  void complete(std::uint32_t source);
  std::uint32_t pending() const { return levels_ & ~claimed_; }
  unsigned best_source(std::uint32_t above) const;
  void update();

  InterruptPins* pins_;
  std::mutex mutex_;
  std::array<Line, kSources + 1> lines_;
  std::array<std::uint32_t, kSources + 1> priorities_{};
  std::uint32_t levels_ = 0;  // one bit a source, here and below
  std::uint32_t claimed_ = 0;
  std::uint32_t enabled_ = 0;
  std::uint32_t threshold_ = 0;
};

}  // namespace vmrun

#endif  // VMRUN_PLIC_H_
