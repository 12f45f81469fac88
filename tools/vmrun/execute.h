// What each operation does to a hart. One file per group of instructions; together
// they cover every Op.
#ifndef VMRUN_EXECUTE_H_
#define VMRUN_EXECUTE_H_

#include "tools/vmrun/block.h"
#include "tools/vmrun/decoded_op.h"
#include "tools/vmrun/hart_state.h"

namespace vmrun {

// Never null.
Handler handler_of(Op op);

// Whether a block has to end with this operation, and whether it has to stand alone
// in its block, so that what it sees of the clock is exact.
bool ends_block(Op op);
bool stands_alone(Op op);

// Goes on at the op's pc: for a block that ends before a jump.
Flow leave_block(Hart& hart, const BlockOp& op);
// Raises the exception of an instruction that is none, or none for this hart as it is.
Flow illegal(Hart& hart, const BlockOp& op);
// Raise the fault of a fetch; imm is the offset of the faulting byte.
Flow fetch_access_fault(Hart& hart, const BlockOp& op);
Flow fetch_page_fault(Hart& hart, const BlockOp& op);

// Where a load or store goes.
inline std::uint64_t effective_address(const HartState& state, const BlockOp& op) {
  return state.x[op.rs1] + static_cast<std::uint64_t>(std::int64_t{op.imm});
}

// The groups: null for operations of another one.
Handler integer_handler(Op op);
Handler control_handler(Op op);
Handler memory_handler(Op op);
Handler muldiv_handler(Op op);
Handler atomic_handler(Op op);
Handler bits_handler(Op op);
Handler float_handler(Op op);
Handler cache_handler(Op op);
Handler bulk_handler(Op op);
Handler system_handler(Op op);

}  // namespace vmrun

#endif  // VMRUN_EXECUTE_H_
