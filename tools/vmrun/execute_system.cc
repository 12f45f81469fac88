// CSR accesses, environment calls, the fences of code and of translations, and what returns
// from a trap or waits for one.

#include "tools/vmrun/csr.h"
#include "tools/vmrun/execute.h"
#include "tools/vmrun/hart.h"
#include "tools/vmrun/trap.h"

namespace vmrun {
namespace {

Flow go_on(Hart& hart, const BlockOp& op, Flow flow = Flow::kJump) {
  hart.state().pc = op.pc + op.bytes;
  return flow;
}

enum class CsrChange : std::uint8_t { kWrite, kSet, kClear };
enum class CsrOperand : std::uint8_t { kRegister, kConstant };

constexpr std::uint64_t changed(CsrChange change, std::uint64_t before, std::uint64_t operand) {
  switch (change) {
    case CsrChange::kSet: return before | operand;
    case CsrChange::kClear: return before & ~operand;
    default: return operand;
  }
}

// Set and clear with x0 or the constant 0 do not write at all, so that they are legal
// on read-only registers. Reads have no side effects here, so that a plain write may
// do one although it names x0.
template <CsrChange kChange, CsrOperand kOperand>
Flow csr(Hart& hart, const BlockOp& op) {
  HartState& state = hart.state();
  const auto number = static_cast<std::uint16_t>(op.imm);
  const std::uint64_t operand = kOperand == CsrOperand::kConstant ? op.rs1 : state.x[op.rs1];
  std::uint64_t before = 0;
  if (!read_csr(state, number, before)) return illegal(hart, op);
  const bool writes = kChange == CsrChange::kWrite || op.rs1 != 0;
  if (writes) {
    const std::uint64_t base = csr_to_change(state, number, before);
    if (!write_csr(state, number, changed(kChange, base, operand))) return illegal(hart, op);
    if (csr_is_of_translation(number)) hart.forget_translations();
    hart.follow_privilege();
  }
  state.x[op.rd] = before;
  return go_on(hart, op);
}

Flow ecall(Hart& hart, const BlockOp& op) {
  switch (hart.state().privilege) {
    case Privilege::kUser: return hart.raise(op, Cause::kEcallUser, 0);
    case Privilege::kSupervisor: return hart.raise(op, Cause::kEcallSupervisor, 0);
    default: return hart.raise(op, Cause::kEcallMachine, 0);
  }
}

Flow ebreak(Hart& hart, const BlockOp& op) { return hart.raise(op, Cause::kBreakpoint, op.pc); }

Flow fence_i(Hart& hart, const BlockOp& op) {
  hart.forget_code();
  return go_on(hart, op);
}

Flow mret(Hart& hart, const BlockOp& op) {
  if (hart.state().privilege != Privilege::kMachine) return illegal(hart, op);
  return_from_machine_trap(hart.state());
  hart.follow_privilege();
  hart.trap_watch().note_return();
  return Flow::kJump;
}

// Whether S-mode lacks the right that a bit of mstatus takes away; U-mode never has it.
bool denied(const HartState& state, std::uint64_t bit) {
  return state.privilege == Privilege::kUser ||
         (state.privilege == Privilege::kSupervisor && (state.csrs.mstatus & bit) != 0);
}

Flow sret(Hart& hart, const BlockOp& op) {
  if (denied(hart.state(), kMstatusTsr)) return illegal(hart, op);
  return_from_supervisor_trap(hart.state());
  hart.follow_privilege();
  hart.trap_watch().note_return();
  return Flow::kJump;
}

// There are no address space identifiers, so that rs2 makes no difference.
Flow sfence_vma(Hart& hart, const BlockOp& op) {
  const HartState& state = hart.state();
  if (denied(state, kMstatusTvm)) return illegal(hart, op);
  if (op.rs1 == 0) {
    hart.forget_translations();
  } else {
    hart.forget_translation(state.x[op.rs1]);
  }
  return go_on(hart, op);
}

// U-mode is refused whatever TW says: nothing bounds how long the wait would be.
Flow wfi(Hart& hart, const BlockOp& op) {
  const HartState& state = hart.state();
  if (denied(state, kMstatusTw)) return illegal(hart, op);
  return go_on(hart, op, has_wakeup(state) ? Flow::kJump : Flow::kWait);
}

}  // namespace

Handler system_handler(Op op) {
  switch (op) {
    case Op::kCsrrw: return csr<CsrChange::kWrite, CsrOperand::kRegister>;
    case Op::kCsrrs: return csr<CsrChange::kSet, CsrOperand::kRegister>;
    case Op::kCsrrc: return csr<CsrChange::kClear, CsrOperand::kRegister>;
    case Op::kCsrrwi: return csr<CsrChange::kWrite, CsrOperand::kConstant>;
    case Op::kCsrrsi: return csr<CsrChange::kSet, CsrOperand::kConstant>;
    case Op::kCsrrci: return csr<CsrChange::kClear, CsrOperand::kConstant>;
    case Op::kEcall: return ecall;
    case Op::kEbreak: return ebreak;
    case Op::kFenceI: return fence_i;
    case Op::kMret: return mret;
    case Op::kSret: return sret;
    case Op::kSfenceVma: return sfence_vma;
    case Op::kWfi: return wfi;
    default: return nullptr;
  }
}

}  // namespace vmrun
