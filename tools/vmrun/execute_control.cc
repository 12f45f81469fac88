// Jumps and branches. With the C extension every even address is a legal target, so
// none of them can fail: JALR clears bit 0, and the other offsets are even.

#include "tools/vmrun/register_function.h"

namespace vmrun {
namespace {

constexpr Word target_of(const BlockOp& op) {
  return op.pc + static_cast<Word>(std::int64_t{op.imm});
}

Flow jal(Hart& hart, const BlockOp& op) {
  HartState& state = hart.state();
  state.x[op.rd] = op.pc + op.bytes;
  state.pc = target_of(op);
  return Flow::kJump;
}

Flow jalr(Hart& hart, const BlockOp& op) {
  HartState& state = hart.state();
  const Word target = state.x[op.rs1] + static_cast<Word>(std::int64_t{op.imm});
  state.x[op.rd] = op.pc + op.bytes;
  state.pc = target & ~Word{1};
  return Flow::kJump;
}

constexpr bool eq(Word a, Word b) { return a == b; }
constexpr bool ne(Word a, Word b) { return a != b; }
constexpr bool lt(Word a, Word b) { return sign(a) < sign(b); }
constexpr bool ge(Word a, Word b) { return sign(a) >= sign(b); }
constexpr bool ltu(Word a, Word b) { return a < b; }
constexpr bool geu(Word a, Word b) { return a >= b; }

template <bool (*kTaken)(Word, Word)>
Flow branch(Hart& hart, const BlockOp& op) {
  HartState& state = hart.state();
  state.pc = kTaken(state.x[op.rs1], state.x[op.rs2]) ? target_of(op) : op.pc + op.bytes;
  return Flow::kJump;
}

}  // namespace

Handler control_handler(Op op) {
  switch (op) {
    case Op::kJal: return jal;
    case Op::kJalr: return jalr;
    case Op::kBeq: return branch<eq>;
    case Op::kBne: return branch<ne>;
    case Op::kBlt: return branch<lt>;
    case Op::kBge: return branch<ge>;
    case Op::kBltu: return branch<ltu>;
    case Op::kBgeu: return branch<geu>;
    default: return nullptr;
  }
}

}  // namespace vmrun
