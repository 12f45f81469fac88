// Zicbom and Zicboz. There is no cache that anything could find incoherent: managing a
// block is nothing but the check that the guest may. Zeroing one is a fill.
// Source: RISC-V Base Cache Management Operation ISA Extensions 1.0.

#include "tools/vmrun/execute.h"
#include "tools/vmrun/hart.h"

namespace vmrun {
namespace {

// Whether menvcfg and, for U-mode, senvcfg let the hart do it.
bool is_enabled(const HartState& state, std::uint64_t bits) {
  const Csrs& csrs = state.csrs;
  if (state.privilege == Privilege::kMachine) return true;
  if ((csrs.menvcfg & bits) == 0) return false;
  return state.privilege == Privilege::kSupervisor || (csrs.senvcfg & bits) != 0;
}

Flow fault(Hart& hart, const BlockOp& op, vme_rc rc) {
  return hart.raise(op, cause_of(rc, AccessKind::kStore), hart.state().x[op.rs1]);
}

template <std::uint64_t kEnable>
Flow manage(Hart& hart, const BlockOp& op) {
  if (!is_enabled(hart.state(), kEnable)) return illegal(hart, op);
  const vme_rc rc = hart.memory().check_block(hart.state().x[op.rs1]);
  return rc == VME_OK ? Flow::kNext : fault(hart, op, rc);
}

Flow zero(Hart& hart, const BlockOp& op) {
  if (!is_enabled(hart.state(), kEnvcfgCbze)) return illegal(hart, op);
  const vme_rc rc = hart.memory().zero_block(hart.state().x[op.rs1]);
  return rc == VME_OK ? Flow::kNext : fault(hart, op, rc);
}

}  // namespace

Handler cache_handler(Op op) {
  switch (op) {
    case Op::kCboInval: return manage<kEnvcfgCbie>;
    case Op::kCboClean:
    case Op::kCboFlush: return manage<kEnvcfgCbcfe>;
    case Op::kCboZero: return zero;
    default: return nullptr;
  }
}

}  // namespace vmrun
