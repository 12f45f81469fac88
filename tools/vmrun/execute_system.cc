// CSR accesses, environment calls, FENCE.I, and what returns from or waits for a trap.

#include "tools/vmrun/csr.h"
#include "tools/vmrun/execute.h"
#include "tools/vmrun/hart.h"
#include "tools/vmrun/trap.h"

namespace vmrun {
namespace {

Flow illegal(Hart& hart, const BlockOp& op) {
  return hart.raise(op, Cause::kIllegalInstruction, op.raw);
}

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
  if (writes && !write_csr(state, number, changed(kChange, before, operand))) {
    return illegal(hart, op);
  }
  state.x[op.rd] = before;
  return go_on(hart, op);
}

Flow ecall(Hart& hart, const BlockOp& op) {
  const bool user = hart.state().privilege == Privilege::kUser;
  return hart.raise(op, user ? Cause::kEcallUser : Cause::kEcallMachine, 0);
}

Flow ebreak(Hart& hart, const BlockOp& op) { return hart.raise(op, Cause::kBreakpoint, op.pc); }

Flow fence_i(Hart& hart, const BlockOp& op) {
  hart.forget_code();
  return go_on(hart, op);
}

Flow mret(Hart& hart, const BlockOp& op) {
  if (hart.state().privilege != Privilege::kMachine) return illegal(hart, op);
  return_from_trap(hart.state());
  hart.trap_watch().note_return();
  return Flow::kJump;
}

Flow wfi(Hart& hart, const BlockOp& op) {
  const HartState& state = hart.state();
  const bool denied = (state.csrs.mstatus & kMstatusTw) != 0;
  if (state.privilege == Privilege::kUser && denied) return illegal(hart, op);
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
    case Op::kWfi: return wfi;
    default: return nullptr;
  }
}

}  // namespace vmrun
