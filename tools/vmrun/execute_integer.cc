// RV64I arithmetic: registers and constants only, nothing that can fail.

#include "tools/vmrun/register_function.h"

namespace vmrun {
namespace {

constexpr Word add(Word a, Word b) { return a + b; }
constexpr Word sub(Word a, Word b) { return a - b; }
constexpr Word sll(Word a, Word b) { return a << (b & 63); }
constexpr Word srl(Word a, Word b) { return a >> (b & 63); }
constexpr Word sra(Word a, Word b) { return static_cast<Word>(sign(a) >> (b & 63)); }
constexpr Word slt(Word a, Word b) { return sign(a) < sign(b) ? 1 : 0; }
constexpr Word sltu(Word a, Word b) { return a < b ? 1 : 0; }
constexpr Word bit_xor(Word a, Word b) { return a ^ b; }
constexpr Word bit_or(Word a, Word b) { return a | b; }
constexpr Word bit_and(Word a, Word b) { return a & b; }
constexpr Word addw(Word a, Word b) { return extend(low32(a + b)); }
constexpr Word subw(Word a, Word b) { return extend(low32(a - b)); }
constexpr Word sllw(Word a, Word b) { return extend(low32(a) << (b & 31)); }
constexpr Word srlw(Word a, Word b) { return extend(low32(a) >> (b & 31)); }
constexpr Word sraw(Word a, Word b) {
  return static_cast<Word>(sign(extend(low32(a))) >> (b & 31));
}

Flow lui(Hart& hart, const BlockOp& op) {
  hart.state().x[op.rd] = static_cast<Word>(std::int64_t{op.imm});
  return Flow::kNext;
}

Flow auipc(Hart& hart, const BlockOp& op) {
  hart.state().x[op.rd] = op.pc + static_cast<Word>(std::int64_t{op.imm});
  return Flow::kNext;
}

// The TLB and the atomics of one hart are as strong as any fence between its own
// accesses; devices work inside the access that starts them.
Flow fence(Hart&, const BlockOp&) { return Flow::kNext; }

Handler immediate_handler(Op op) {
  switch (op) {
    case Op::kAddi: return immediate<add>;
    case Op::kSlti: return immediate<slt>;
    case Op::kSltiu: return immediate<sltu>;
    case Op::kXori: return immediate<bit_xor>;
    case Op::kOri: return immediate<bit_or>;
    case Op::kAndi: return immediate<bit_and>;
    case Op::kSlli: return immediate<sll>;
    case Op::kSrli: return immediate<srl>;
    case Op::kSrai: return immediate<sra>;
    case Op::kAddiw: return immediate<addw>;
    case Op::kSlliw: return immediate<sllw>;
    case Op::kSrliw: return immediate<srlw>;
    case Op::kSraiw: return immediate<sraw>;
    case Op::kLui: return lui;
    case Op::kAuipc: return auipc;
    case Op::kFence: return fence;
    default: return nullptr;
  }
}

}  // namespace

Handler integer_handler(Op op) {
  switch (op) {
    case Op::kAdd: return registers<add>;
    case Op::kSub: return registers<sub>;
    case Op::kSll: return registers<sll>;
    case Op::kSlt: return registers<slt>;
    case Op::kSltu: return registers<sltu>;
    case Op::kXor: return registers<bit_xor>;
    case Op::kSrl: return registers<srl>;
    case Op::kSra: return registers<sra>;
    case Op::kOr: return registers<bit_or>;
    case Op::kAnd: return registers<bit_and>;
    case Op::kAddw: return registers<addw>;
    case Op::kSubw: return registers<subw>;
    case Op::kSllw: return registers<sllw>;
    case Op::kSrlw: return registers<srlw>;
    case Op::kSraw: return registers<sraw>;
    default: return immediate_handler(op);
  }
}

}  // namespace vmrun
