// The platform-level interrupt controller, with two contexts a hart: M-mode, then S-mode.
#ifndef VMRUN_PLIC_H_
#define VMRUN_PLIC_H_

#include <array>
#include <cstdint>
#include <mutex>
#include <vector>

#include "tools/vmrun/interrupt_pins.h"
#include "vm_device/interrupt_line.h"
#include "vm_device/state_bytes.h"
#include "vm_mem/mmio_handler.h"

namespace vmrun {

// Level-triggered sources 1 to kSources. The gateway of a source that has been claimed
// stays shut until the claim is completed. A level that falls before the claim takes its
// request back, as on QEMU; the specification would keep it pending. Registers are 4 bytes
// wide; those of other contexts read as zero and ignore writes.
//
// Threads:  any number at a time.
// Source:   RISC-V Platform-Level Interrupt Controller Specification 1.0.0.
class Plic final : public vm_mem::MmioHandler {
 public:
  static constexpr unsigned kSources = 31;
  static constexpr unsigned kMaxPriority = 7;

  // Needs:  the pins of each hart, in order; they outlive this object.
  explicit Plic(const std::vector<InterruptPins*>& harts);

  // Needs:  1 <= source <= kSources.
  vm_device::InterruptLine& line(unsigned source) { return lines_[source]; }

  vm_mem::AccessFault mmio_read(std::uint64_t offset, unsigned size, std::uint64_t& value) override;
  vm_mem::AccessFault mmio_write(std::uint64_t offset, unsigned size, std::uint64_t value) override;

  // For a snapshot. What was refused, the reader says.
  void save(vm_device::StateWriter& to) const;
  void load(vm_device::StateReader& from);

 private:
  template <typename Archive, typename Self>
  static void fields(Archive& archive, Self& self);
  class Line final : public vm_device::InterruptLine {
   public:
    void connect(Plic& plic, unsigned source) { plic_ = &plic, source_ = source; }
    void set(vm_device::Level level) override { plic_->set_level(source_, level); }

   private:
    Plic* plic_ = nullptr;
    unsigned source_ = 0;
  };

  struct Context {
    InterruptPins* pins = nullptr;
    Interrupt pin = Interrupt::kExternal;
    std::uint32_t enabled = 0;  // one bit a source
    std::uint32_t threshold = 0;
  };

  void set_level(unsigned source, vm_device::Level level);
  std::uint32_t read_register(std::uint64_t offset);
  void write_register(std::uint64_t offset, std::uint32_t value);
  std::uint32_t read_context(std::uint64_t offset);
  void write_context(std::uint64_t offset, std::uint32_t value);
  Context* enables_at(std::uint64_t offset);
  std::uint32_t claim(const Context& context);
  void complete(const Context& context, std::uint32_t source);
  std::uint32_t pending() const { return levels_ & ~claimed_; }
  unsigned best_source(const Context& context, std::uint32_t above) const;
  void update();

  std::vector<Context> contexts_;
  std::mutex mutex_;
  std::array<Line, kSources + 1> lines_;
  std::array<std::uint32_t, kSources + 1> priorities_{};
  std::uint32_t levels_ = 0;  // one bit a source, here and below
  std::uint32_t claimed_ = 0;
};

}  // namespace vmrun

#endif  // VMRUN_PLIC_H_
