// Into a trap and back: the mstatus stacks, the trap vectors, delegation, which interrupt
// is next.
#ifndef VMRUN_TRAP_H_
#define VMRUN_TRAP_H_

#include <cstdint>
#include <optional>

#include "tools/vmrun/hart_state.h"

namespace vmrun {

// To M-mode, or to S-mode where medeleg or mideleg says so and the hart is not in M-mode.
// mepc or sepc is the pc of the hart: the instruction that could not be executed.
void enter_exception(HartState& hart, Cause cause, std::uint64_t tval);
void enter_interrupt(HartState& hart, Interrupt interrupt);
// MRET and SRET.
void return_from_machine_trap(HartState& hart);
void return_from_supervisor_trap(HartState& hart);

// mip: the pins, and what software has written.
inline std::uint64_t pending_interrupts(const HartState& hart) {
  return hart.pins.bits() | hart.csrs.mip;
}

// The interrupt that is to be taken before the next instruction. Those for M-mode come
// before those for S-mode; in each, external before software before timer.
std::optional<Interrupt> takeable_interrupt(const HartState& hart);

// Whether WFI has to wake up: enabled or not in mstatus, an interrupt is pending.
inline bool has_wakeup(const HartState& hart) {
  return (pending_interrupts(hart) & hart.csrs.mie) != 0;
}

const char* cause_name(Cause cause);

}  // namespace vmrun

#endif  // VMRUN_TRAP_H_
