// The sifive_test device: how a guest says that it is done.
#ifndef VMRUN_FINISHER_H_
#define VMRUN_FINISHER_H_

#include <cstdint>
#include <functional>
#include <utility>

#include "vm_mem/mmio_handler.h"

namespace vmrun {

enum class FinishKind : std::uint8_t { kPowerOff, kFail, kReset };

struct Finish {
  FinishKind kind = FinishKind::kPowerOff;
  unsigned code = 0;  // of kFail

  friend bool operator==(const Finish&, const Finish&) = default;
};

inline constexpr std::uint32_t kFinisherFail = 0x3333;
inline constexpr std::uint32_t kFinisherPass = 0x5555;
inline constexpr std::uint32_t kFinisherReset = 0x7777;

// The low halfword of a write says what, the high one the code; other values do
// nothing. Reads as zero.
//
// Threads:  the hart's.
class Finisher final : public vm_mem::MmioHandler {
 public:
  explicit Finisher(std::function<void(Finish)> finish) : finish_(std::move(finish)) {}

  vm_mem::AccessFault mmio_read(std::uint64_t, unsigned, std::uint64_t& value) override {
    value = 0;
    return vm_mem::AccessFault::kNone;
  }
  vm_mem::AccessFault mmio_write(std::uint64_t offset, unsigned size, std::uint64_t value) override;

 private:
  std::function<void(Finish)> finish_;
};

}  // namespace vmrun

#endif  // VMRUN_FINISHER_H_
