// Memory between two pages that nobody may touch, and a way to survive touching them.
#ifndef VMMEM_GUARDED_ARENA_H_
#define VMMEM_GUARDED_ARENA_H_

#include <array>
#include <csetjmp>
#include <csignal>
#include <cstddef>
#include <span>

namespace vmmem {

class GuardedArena {
 public:
  // Needs:  `bytes` is a multiple of the page size. Empty where the host refuses.
  explicit GuardedArena(std::size_t bytes);
  GuardedArena(const GuardedArena&) = delete;
  GuardedArena& operator=(const GuardedArena&) = delete;
  ~GuardedArena();

  std::span<std::byte> bytes() const { return bytes_; }

 private:
  void* mapping_;
  std::size_t mapped_bytes_;
  std::span<std::byte> bytes_;
};

// Catches memory faults (and illegal instructions) of this thread while it lives. One at
// a time in a process.
class FaultTrap {
 public:
  FaultTrap();
  FaultTrap(const FaultTrap&) = delete;
  FaultTrap& operator=(const FaultTrap&) = delete;
  ~FaultTrap();

  // Runs `body`, which must hold no resource; false where a fault ended it.
  template <typename Body>
  bool run(const Body& body) {
    if (sigsetjmp(landing_, 0) != 0) return false;
    armed_ = true;
    body();
    armed_ = false;
    return true;
  }

 private:
  static constexpr std::array kSignals = {SIGSEGV, SIGBUS, SIGILL};

  static void on_signal(int number);

  static sigjmp_buf landing_;
  static volatile bool armed_;

  std::array<struct sigaction, kSignals.size()> found_{};
};

}  // namespace vmmem

#endif  // VMMEM_GUARDED_ARENA_H_
