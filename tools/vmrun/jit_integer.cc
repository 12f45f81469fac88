// RV64I arithmetic and comparisons.

#include <optional>
#include <utility>

#include "tools/vmrun/hart_state.h"
#include "tools/vmrun/jit_emit.h"

namespace vmrun {
namespace {

namespace x86 = asmjit::x86;
namespace Inst = x86::Inst;

enum class Operands : std::uint8_t { kRegisters, kImmediate };
enum class Shape : std::uint8_t { kPlain, kCommutes, kShift, kLess };

struct Form {
  JitCode::InstId id;
  Shape shape;
  unsigned bytes;
  Operands operands;
};

std::optional<Form> register_form(Op op) {
  constexpr Operands kOperands = Operands::kRegisters;
  switch (op) {
    case Op::kAdd: return Form{Inst::kIdAdd, Shape::kCommutes, 8, kOperands};
    case Op::kSub: return Form{Inst::kIdSub, Shape::kPlain, 8, kOperands};
    case Op::kXor: return Form{Inst::kIdXor, Shape::kCommutes, 8, kOperands};
    case Op::kOr: return Form{Inst::kIdOr, Shape::kCommutes, 8, kOperands};
    case Op::kAnd: return Form{Inst::kIdAnd, Shape::kCommutes, 8, kOperands};
    case Op::kSll: return Form{Inst::kIdShl, Shape::kShift, 8, kOperands};
    case Op::kSrl: return Form{Inst::kIdShr, Shape::kShift, 8, kOperands};
    case Op::kSra: return Form{Inst::kIdSar, Shape::kShift, 8, kOperands};
    case Op::kSlt: return Form{Inst::kIdSetl, Shape::kLess, 8, kOperands};
    case Op::kSltu: return Form{Inst::kIdSetb, Shape::kLess, 8, kOperands};
    case Op::kAddw: return Form{Inst::kIdAdd, Shape::kCommutes, 4, kOperands};
    case Op::kSubw: return Form{Inst::kIdSub, Shape::kPlain, 4, kOperands};
    case Op::kSllw: return Form{Inst::kIdShl, Shape::kShift, 4, kOperands};
    case Op::kSrlw: return Form{Inst::kIdShr, Shape::kShift, 4, kOperands};
    case Op::kSraw: return Form{Inst::kIdSar, Shape::kShift, 4, kOperands};
    default: return std::nullopt;
  }
}

std::optional<Form> immediate_form(Op op) {
  constexpr Operands kOperands = Operands::kImmediate;
  switch (op) {
    case Op::kAddi: return Form{Inst::kIdAdd, Shape::kPlain, 8, kOperands};
    case Op::kXori: return Form{Inst::kIdXor, Shape::kPlain, 8, kOperands};
    case Op::kOri: return Form{Inst::kIdOr, Shape::kPlain, 8, kOperands};
    case Op::kAndi: return Form{Inst::kIdAnd, Shape::kPlain, 8, kOperands};
    case Op::kSlli: return Form{Inst::kIdShl, Shape::kPlain, 8, kOperands};
    case Op::kSrli: return Form{Inst::kIdShr, Shape::kPlain, 8, kOperands};
    case Op::kSrai: return Form{Inst::kIdSar, Shape::kPlain, 8, kOperands};
    case Op::kSlti: return Form{Inst::kIdSetl, Shape::kLess, 8, kOperands};
    case Op::kSltiu: return Form{Inst::kIdSetb, Shape::kLess, 8, kOperands};
    case Op::kAddiw: return Form{Inst::kIdAdd, Shape::kPlain, 4, kOperands};
    case Op::kSlliw: return Form{Inst::kIdShl, Shape::kPlain, 4, kOperands};
    case Op::kSrliw: return Form{Inst::kIdShr, Shape::kPlain, 4, kOperands};
    case Op::kSraiw: return Form{Inst::kIdSar, Shape::kPlain, 4, kOperands};
    default: return std::nullopt;
  }
}

// Words are computed in rax, so that sign extension is what reaches the register.
void finish(JitCode& code, unsigned rd, unsigned bytes, JitCode::Gp result) {
  if (bytes == 8) return code.write(rd, result);
  const JitCode::Gp out = JitCode::destination(rd, x86::rax);
  code.emit(Inst::kIdMovsxd, out, result.r32());
  code.write(rd, out);
}

void less(JitCode& code, const JitOp& op, const Form& form) {
  const DecodedOp& d = op.decoded;
  const JitCode::Gp left = code.in_register(d.rs1, x86::rax);
  if (form.operands == Operands::kImmediate) {
    code.emit(Inst::kIdCmp, left, asmjit::Imm(d.imm));
  } else {
    code.emit(Inst::kIdCmp, left, code.operand(d.rs2, 8, x86::rcx));
  }
  code->emit(form.id, x86::al);
  code->movzx(x86::eax, x86::al);
  code.write(d.rd, x86::rax);
}

// In a register that the second operand is not read from afterwards.
JitCode::Gp result_register(const DecodedOp& d, const Form& form) {
  const bool free = form.bytes == 8 && (form.operands == Operands::kImmediate || d.rd != d.rs2);
  return free ? JitCode::destination(d.rd, x86::rax) : JitCode::Gp(x86::rax);
}

void compute(JitCode& code, DecodedOp d, const Form& form) {
  if (form.shape == Shape::kCommutes && d.rd == d.rs2) std::swap(d.rs1, d.rs2);
  if (form.shape == Shape::kShift) code.read(x86::rcx, d.rs2);
  const JitCode::Gp out = result_register(d, form);
  code.read(out, d.rs1);
  const JitCode::Gp sized = JitCode::sized(out, form.bytes);
  if (form.operands == Operands::kImmediate) {
    code.emit(form.id, sized, asmjit::Imm(d.imm));
  } else if (form.shape == Shape::kShift) {
    code.emit(form.id, sized, x86::cl);
  } else {
    code.emit(form.id, sized, code.operand(d.rs2, form.bytes, x86::rcx));
  }
  finish(code, d.rd, form.bytes, out);
}

// The short ways of the commonest instruction.
bool add_constant(JitCode& code, const JitOp& op) {
  const DecodedOp& d = op.decoded;
  if (d.op != Op::kAddi) return false;
  if (d.rs1 == 0) return code.write_constant(d.rd, op.immediate()), true;
  if (d.imm == 0)
    return code.write(d.rd, code.in_register(d.rs1, JitCode::destination(d.rd, x86::rax))), true;
  if (JitCode::is_fixed(d.rs1) && JitCode::is_fixed(d.rd) && d.rs1 != d.rd) {
    return code->lea(JitCode::fixed(d.rd), x86::ptr(JitCode::fixed(d.rs1), d.imm)), true;
  }
  return false;
}

bool emit_upper(JitCode& code, const JitOp& op) {
  switch (op.decoded.op) {
    case Op::kLui: code.write_constant(op.decoded.rd, op.immediate()); return true;
    case Op::kAuipc: code.write_constant(op.decoded.rd, op.pc + op.immediate()); return true;
    case Op::kFence: return true;  // as execute_integer.cc has it
    default: return false;
  }
}

}  // namespace

bool emit_integer(JitCode& code, const JitOp& op) {
  if (emit_upper(code, op)) return true;
  auto form = register_form(op.decoded.op);
  if (!form) form = immediate_form(op.decoded.op);
  if (!form) return false;
  if (op.decoded.rd == kSink || add_constant(code, op)) return true;
  if (form->shape == Shape::kLess) {
    less(code, op, *form);
  } else {
    compute(code, op.decoded, *form);
  }
  return true;
}

unsigned emit_compare(JitCode& code, const DecodedOp& op) {
  constexpr unsigned kConditions[] = {0x4, 0x5, 0xc, 0xd, 0x2, 0x3};
  const JitCode::Gp left = code.in_register(op.rs1, x86::rax);
  if (op.rs2 == 0) {
    code.emit(Inst::kIdTest, left, left);
  } else {
    code.emit(Inst::kIdCmp, left, code.operand(op.rs2, 8, x86::rcx));
  }
  return kConditions[static_cast<unsigned>(op.op) - static_cast<unsigned>(Op::kBeq)];
}

}  // namespace vmrun
