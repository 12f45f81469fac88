// Notices a guest that can only trap for ever.
#ifndef VMRUN_TRAP_WATCH_H_
#define VMRUN_TRAP_WATCH_H_

#include <cstdint>
#include <optional>

#include "tools/vmrun/hart_state.h"

namespace vmrun {

struct TrapRecord {
  std::uint64_t pc = 0;
  Cause cause = Cause::kIllegalInstruction;
  std::uint64_t tval = 0;
  std::uint64_t retired = 0;  // instructions before it
};

// A handler is lost when it has trapped at one place this often without an MRET
// or SRET between. Far more than a loop of probes whose handler jumps on instead of returning
// needs, and passed in milliseconds by one that is lost.
inline constexpr int kTrapLoopLimit = 1 << 16;

class TrapWatch {
 public:
  // True when the guest is lost.
  bool note_exception(const TrapRecord& record) {
    if (!inside_) first_ = record;
    const bool again = inside_ && record.pc == last_pc_ && record.cause == last_cause_;
    repeats_ = again ? repeats_ + 1 : 0;
    inside_ = true;
    last_pc_ = record.pc;
    last_cause_ = record.cause;
    latest_ = record;
    return repeats_ >= kTrapLoopLimit;
  }
  void note_return() { inside_ = false; }

  // The exception with which the trouble began, and where it goes on.
  const TrapRecord& first() const { return first_; }
  std::uint64_t last_pc() const { return last_pc_; }
  // The latest; nullopt: there was none yet.
  std::optional<TrapRecord> latest() const { return latest_; }

 private:
  TrapRecord first_;
  std::optional<TrapRecord> latest_;
  std::uint64_t last_pc_ = 0;
  Cause last_cause_ = Cause::kIllegalInstruction;
  int repeats_ = 0;
  bool inside_ = false;
};

}  // namespace vmrun

#endif  // VMRUN_TRAP_WATCH_H_
