// Source: RISC-V Privileged Architecture 20211203, 3.1.6 to 3.1.16.

#include "tools/vmrun/trap.h"

namespace vmrun {
namespace {

void enter(HartState& hart, std::uint64_t cause, std::uint64_t tval, std::uint64_t target) {
  MachineCsrs& csrs = hart.csrs;
  csrs.mepc = hart.pc;
  csrs.mcause = cause;
  csrs.mtval = tval;
  const std::uint64_t mpp = static_cast<std::uint64_t>(hart.privilege) << 11;
  const std::uint64_t mpie = (csrs.mstatus & kMstatusMie) != 0 ? kMstatusMpie : 0;
  csrs.mstatus = (csrs.mstatus & ~(kMstatusMie | kMstatusMpie | kMstatusMpp)) | mpp | mpie;
  hart.privilege = Privilege::kMachine;
  hart.pc = target;
}

}  // namespace

void enter_exception(HartState& hart, Cause cause, std::uint64_t tval) {
  enter(hart, static_cast<std::uint64_t>(cause), tval, exception_vector(hart));
}

void enter_interrupt(HartState& hart, Interrupt interrupt) {
  const std::uint64_t number = static_cast<unsigned>(interrupt);
  const bool vectored = (hart.csrs.mtvec & 1) != 0;
  const std::uint64_t target = exception_vector(hart) + (vectored ? 4 * number : 0);
  enter(hart, (std::uint64_t{1} << 63) | number, 0, target);
}

void return_from_trap(HartState& hart) {
  MachineCsrs& csrs = hart.csrs;
  hart.privilege =
      (csrs.mstatus & kMstatusMpp) == kMstatusMpp ? Privilege::kMachine : Privilege::kUser;
  std::uint64_t left = csrs.mstatus & ~(kMstatusMie | kMstatusMpp);
  if (hart.privilege == Privilege::kUser) left &= ~kMstatusMprv;
  if ((csrs.mstatus & kMstatusMpie) != 0) left |= kMstatusMie;
  csrs.mstatus = left | kMstatusMpie;
  hart.pc = csrs.mepc;
}

std::optional<Interrupt> takeable_interrupt(const HartState& hart) {
  const std::uint64_t pending = hart.pins.bits() & hart.csrs.mie;
  if (pending == 0) return std::nullopt;
  if (hart.privilege == Privilege::kMachine && (hart.csrs.mstatus & kMstatusMie) == 0) {
    return std::nullopt;
  }
  for (const Interrupt next : {Interrupt::kExternal, Interrupt::kSoftware, Interrupt::kTimer}) {
    if ((pending & mask_of(next)) != 0) return next;
  }
  return std::nullopt;
}

const char* cause_name(Cause cause) {
  switch (cause) {
    case Cause::kFetchAccess: return "instruction access fault";
    case Cause::kIllegalInstruction: return "illegal instruction";
    case Cause::kBreakpoint: return "breakpoint";
    case Cause::kLoadMisaligned: return "misaligned load";
    case Cause::kLoadAccess: return "load access fault";
    case Cause::kStoreMisaligned: return "misaligned store";
    case Cause::kStoreAccess: return "store access fault";
    case Cause::kEcallUser: return "environment call from user mode";
    case Cause::kEcallMachine: return "environment call from machine mode";
  }
  return "unknown exception";
}

}  // namespace vmrun
