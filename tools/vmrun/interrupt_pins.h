// The hart's interrupt inputs: the read-only bits of mip, driven by CLINT and PLIC.
#ifndef VMRUN_INTERRUPT_PINS_H_
#define VMRUN_INTERRUPT_PINS_H_

#include <atomic>
#include <cstdint>

namespace vmrun {

// The bit in mip and mie, and the cause without its interrupt bit.
enum class Interrupt : unsigned { kSoftware = 3, kTimer = 7, kExternal = 11 };

constexpr std::uint64_t mask_of(Interrupt interrupt) {
  return std::uint64_t{1} << static_cast<unsigned>(interrupt);
}
inline constexpr std::uint64_t kInterruptMask =
    mask_of(Interrupt::kSoftware) | mask_of(Interrupt::kTimer) | mask_of(Interrupt::kExternal);

// Threads:  any number at a time.
class InterruptPins {
 public:
  std::uint64_t bits() const { return bits_.load(std::memory_order_acquire); }
  void raise(Interrupt interrupt) { bits_.fetch_or(mask_of(interrupt), std::memory_order_acq_rel); }
  void lower(Interrupt interrupt) {
    bits_.fetch_and(~mask_of(interrupt), std::memory_order_acq_rel);
  }

 private:
  std::atomic<std::uint64_t> bits_{0};
};

}  // namespace vmrun

#endif  // VMRUN_INTERRUPT_PINS_H_
