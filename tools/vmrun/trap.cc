// Source: RISC-V Privileged Architecture 20211203, 3.1.6 to 3.1.16, 4.1.1 to 4.1.9.

#include "tools/vmrun/trap.h"

namespace vmrun {
namespace {

constexpr std::uint64_t kInterruptBit = std::uint64_t{1} << 63;
constexpr unsigned kMppShift = 11;

struct Trap {
  std::uint64_t cause;  // as mcause has it
  std::uint64_t tval;
};

// Moves the bit from one place of mstatus to another.
constexpr std::uint64_t moved(std::uint64_t mstatus, std::uint64_t from, std::uint64_t to) {
  return (mstatus & from) != 0 ? mstatus | to : mstatus & ~to;
}

std::uint64_t target_of(std::uint64_t vector, std::uint64_t cause) {
  const std::uint64_t base = vector & ~std::uint64_t{3};
  const bool vectored = (vector & 1) != 0 && (cause & kInterruptBit) != 0;
  return base + (vectored ? 4 * (cause & ~kInterruptBit) : 0);
}

void enter_machine(HartState& hart, const Trap& trap) {
  Csrs& csrs = hart.csrs;
  csrs.mepc = hart.pc;
  csrs.mcause = trap.cause;
  csrs.mtval = trap.tval;
  const std::uint64_t stacked = moved(csrs.mstatus, kMstatusMie, kMstatusMpie);
  const std::uint64_t mpp = static_cast<std::uint64_t>(hart.privilege) << kMppShift;
  csrs.mstatus = (stacked & ~(kMstatusMie | kMstatusMpp)) | mpp;
  hart.privilege = Privilege::kMachine;
  hart.pc = target_of(csrs.mtvec, trap.cause);
}

void enter_supervisor(HartState& hart, const Trap& trap) {
  Csrs& csrs = hart.csrs;
  csrs.sepc = hart.pc;
  csrs.scause = trap.cause;
  csrs.stval = trap.tval;
  const std::uint64_t stacked = moved(csrs.mstatus, kMstatusSie, kMstatusSpie);
  const std::uint64_t spp = hart.privilege == Privilege::kSupervisor ? kMstatusSpp : 0;
  csrs.mstatus = (stacked & ~(kMstatusSie | kMstatusSpp)) | spp;
  hart.privilege = Privilege::kSupervisor;
  hart.pc = target_of(csrs.stvec, trap.cause);
}

void enter(HartState& hart, const Trap& trap, std::uint64_t delegated) {
  const std::uint64_t number = trap.cause & ~kInterruptBit;
  if (hart.privilege != Privilege::kMachine && ((delegated >> number) & 1) != 0) {
    enter_supervisor(hart, trap);
  } else {
    enter_machine(hart, trap);
  }
}

std::optional<Interrupt> first_of(std::uint64_t pending) {
  for (const Interrupt next : {Interrupt::kExternal, Interrupt::kSoftware, Interrupt::kTimer,
                               Interrupt::kSupervisorExternal, Interrupt::kSupervisorSoftware,
                               Interrupt::kSupervisorTimer}) {
    if ((pending & mask_of(next)) != 0) return next;
  }
  return std::nullopt;
}

}  // namespace

void enter_exception(HartState& hart, Cause cause, std::uint64_t tval) {
  enter(hart, {static_cast<std::uint64_t>(cause), tval}, hart.csrs.medeleg);
}

void enter_interrupt(HartState& hart, Interrupt interrupt) {
  enter(hart, {kInterruptBit | static_cast<unsigned>(interrupt), 0}, hart.csrs.mideleg);
}

void return_from_machine_trap(HartState& hart) {
  Csrs& csrs = hart.csrs;
  hart.privilege = static_cast<Privilege>((csrs.mstatus & kMstatusMpp) >> kMppShift);
  std::uint64_t left = moved(csrs.mstatus, kMstatusMpie, kMstatusMie) & ~kMstatusMpp;
  if (hart.privilege != Privilege::kMachine) left &= ~kMstatusMprv;
  csrs.mstatus = left | kMstatusMpie;
  hart.pc = csrs.mepc;
}

void return_from_supervisor_trap(HartState& hart) {
  Csrs& csrs = hart.csrs;
  hart.privilege = (csrs.mstatus & kMstatusSpp) != 0 ? Privilege::kSupervisor : Privilege::kUser;
  const std::uint64_t left =
      moved(csrs.mstatus, kMstatusSpie, kMstatusSie) & ~(kMstatusSpp | kMstatusMprv);
  csrs.mstatus = left | kMstatusSpie;
  hart.pc = csrs.sepc;
}

std::optional<Interrupt> takeable_interrupt(const HartState& hart) {
  const Csrs& csrs = hart.csrs;
  const std::uint64_t pending = pending_interrupts(hart) & csrs.mie;
  if (pending == 0) return std::nullopt;
  const Privilege privilege = hart.privilege;
  if (privilege < Privilege::kMachine || (csrs.mstatus & kMstatusMie) != 0) {
    if (const auto next = first_of(pending & ~csrs.mideleg)) return next;
  }
  const bool supervisor_takes =
      privilege < Privilege::kSupervisor ||
      (privilege == Privilege::kSupervisor && (csrs.mstatus & kMstatusSie) != 0);
  return supervisor_takes ? first_of(pending & csrs.mideleg) : std::nullopt;
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
    case Cause::kEcallSupervisor: return "environment call from supervisor mode";
    case Cause::kEcallMachine: return "environment call from machine mode";
    case Cause::kFetchPage: return "instruction page fault";
    case Cause::kLoadPage: return "load page fault";
    case Cause::kStorePage: return "store page fault";
  }
  return "unknown exception";
}

}  // namespace vmrun
