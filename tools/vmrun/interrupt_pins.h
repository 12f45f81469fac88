// The hart's interrupt inputs: the bits of mip that CLINT and PLIC drive.
#ifndef VMRUN_INTERRUPT_PINS_H_
#define VMRUN_INTERRUPT_PINS_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <utility>

namespace vmrun {

// The bit in mip and mie, and the cause without its interrupt bit.
enum class Interrupt : unsigned {
  kSupervisorSoftware = 1,
  kSoftware = 3,
  kSupervisorTimer = 5,
  kTimer = 7,
  kSupervisorExternal = 9,
  kExternal = 11,
};

constexpr std::uint64_t mask_of(Interrupt interrupt) {
  return std::uint64_t{1} << static_cast<unsigned>(interrupt);
}
inline constexpr std::uint64_t kMachineInterrupts =
    mask_of(Interrupt::kSoftware) | mask_of(Interrupt::kTimer) | mask_of(Interrupt::kExternal);
inline constexpr std::uint64_t kSupervisorInterrupts = mask_of(Interrupt::kSupervisorSoftware) |
                                                       mask_of(Interrupt::kSupervisorTimer) |
                                                       mask_of(Interrupt::kSupervisorExternal);
inline constexpr std::uint64_t kInterruptMask = kMachineInterrupts | kSupervisorInterrupts;

// Threads:  any number at a time.
class InterruptPins {
 public:
  std::uint64_t bits() const { return bits_.load(std::memory_order_acquire); }
  void raise(Interrupt interrupt) {
    const std::uint64_t mask = mask_of(interrupt);
    const bool was_raised = (bits_.fetch_or(mask, std::memory_order_acq_rel) & mask) != 0;
    if (!was_raised && bell_) bell_();
  }
  void lower(Interrupt interrupt) {
    bits_.fetch_and(~mask_of(interrupt), std::memory_order_acq_rel);
  }

  // Calls `bell` whenever a pin goes up. Before anything is raised.
  void set_bell(std::function<void()> bell) { bell_ = std::move(bell); }

 private:
  std::atomic<std::uint64_t> bits_{0};
  std::function<void()> bell_;
};

}  // namespace vmrun

#endif  // VMRUN_INTERRUPT_PINS_H_
