#include "tools/vmrun/execute.h"

#include <array>

#include "tools/vmrun/hart.h"

namespace vmrun {
namespace {

Handler find_handler(Op op) {
  for (const auto group :
       {integer_handler, control_handler, memory_handler, muldiv_handler, atomic_handler,
        bits_handler, float_handler, cache_handler, bulk_handler, system_handler}) {
    if (const Handler handler = group(op); handler != nullptr) return handler;
  }
  return illegal;
}

std::array<Handler, kOpCount> make_table() {
  std::array<Handler, kOpCount> table{};
  for (int i = 0; i < kOpCount; ++i) {
    table[static_cast<std::size_t>(i)] = find_handler(static_cast<Op>(i));
  }
  return table;
}

}  // namespace

Handler handler_of(Op op) {
  static const std::array<Handler, kOpCount> kHandlers = make_table();
  return kHandlers[static_cast<std::size_t>(op)];
}

bool stands_alone(Op op) { return op >= Op::kCsrrw && op <= Op::kCsrrci; }

bool ends_block(Op op) {
  switch (op) {
    case Op::kIllegal:
    case Op::kEcall:
    case Op::kEbreak:
    case Op::kFenceI:
    case Op::kMret:
    case Op::kSret:
    case Op::kSfenceVma:
    case Op::kWfi: return true;
    default: return (op >= Op::kJal && op <= Op::kBgeu) || stands_alone(op);
  }
}

Flow illegal(Hart& hart, const BlockOp& op) {
  return hart.raise(op, Cause::kIllegalInstruction, op.raw);
}

Flow leave_block(Hart& hart, const BlockOp& op) {
  hart.state().pc = op.pc;
  return Flow::kJump;
}

Flow fetch_access_fault(Hart& hart, const BlockOp& op) {
  return hart.raise(op, Cause::kFetchAccess, op.pc + static_cast<std::uint64_t>(op.imm));
}

Flow fetch_page_fault(Hart& hart, const BlockOp& op) {
  return hart.raise(op, Cause::kFetchPage, op.pc + static_cast<std::uint64_t>(op.imm));
}

}  // namespace vmrun
