// Into a trap and back: the mstatus stack, the trap vector, which interrupt is next.
#ifndef VMRUN_TRAP_H_
#define VMRUN_TRAP_H_

#include <cstdint>
#include <optional>

#include "tools/vmrun/hart_state.h"

namespace vmrun {

// mepc is the pc of the hart: the instruction that could not be executed.
void enter_exception(HartState& hart, Cause cause, std::uint64_t tval);
void enter_interrupt(HartState& hart, Interrupt interrupt);
void return_from_trap(HartState& hart);

// The interrupt that is to be taken before the next instruction. External comes
// before software, software before timer.
std::optional<Interrupt> takeable_interrupt(const HartState& hart);

// Whether WFI has to wake up: enabled or not in mstatus, an interrupt is pending.
inline bool has_wakeup(const HartState& hart) { return (hart.pins.bits() & hart.csrs.mie) != 0; }

// Where an exception would go.
inline std::uint64_t exception_vector(const HartState& hart) {
  return hart.csrs.mtvec & ~std::uint64_t{3};
}

const char* cause_name(Cause cause);

}  // namespace vmrun

#endif  // VMRUN_TRAP_H_
