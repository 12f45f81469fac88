// Zba and Zbb: results are made in rax.

#include "tools/vmrun/hart_state.h"
#include "tools/vmrun/jit_emit.h"

namespace vmrun {
namespace {

namespace x86 = asmjit::x86;
namespace Inst = x86::Inst;
using Features = asmjit::CpuFeatures::X86;

enum class Width : std::uint8_t { kWhole, kLow };

void shift_add(JitCode& code, const DecodedOp& d, unsigned shift, Width first) {
  code.read(x86::rax, d.rs1);
  if (first == Width::kLow) code->mov(x86::eax, x86::eax);
  code->lea(x86::rax, x86::ptr(code.in_register(d.rs2, x86::rcx), x86::rax, shift));
}

bool emit_shift_add(JitCode& code, const DecodedOp& d) {
  switch (d.op) {
    case Op::kAddUw: shift_add(code, d, 0, Width::kLow); return true;
    case Op::kSh1add: shift_add(code, d, 1, Width::kWhole); return true;
    case Op::kSh2add: shift_add(code, d, 2, Width::kWhole); return true;
    case Op::kSh3add: shift_add(code, d, 3, Width::kWhole); return true;
    case Op::kSh1addUw: shift_add(code, d, 1, Width::kLow); return true;
    case Op::kSh2addUw: shift_add(code, d, 2, Width::kLow); return true;
    case Op::kSh3addUw: shift_add(code, d, 3, Width::kLow); return true;
    case Op::kSlliUw:
      code.read(x86::rax, d.rs1);
      code->mov(x86::eax, x86::eax);
      code->shl(x86::rax, d.imm & 63);
      return true;
    default: return false;
  }
}

void with_complement(JitCode& code, const DecodedOp& d, JitCode::InstId id) {
  code.read(x86::rax, d.rs2);
  code->not_(x86::rax);
  code.emit(id, x86::rax, code.operand(d.rs1, 8, x86::rcx));
}

// The second one where the condition holds after comparing the first with it.
void select(JitCode& code, const DecodedOp& d, JitCode::InstId id) {
  code.read(x86::rax, d.rs1);
  code.read(x86::rcx, d.rs2);
  code->cmp(x86::rax, x86::rcx);
  code.emit(id, x86::rax, x86::rcx);
}

bool emit_logic(JitCode& code, const DecodedOp& d) {
  switch (d.op) {
    case Op::kAndn: with_complement(code, d, Inst::kIdAnd); return true;
    case Op::kOrn: with_complement(code, d, Inst::kIdOr); return true;
    case Op::kXnor: with_complement(code, d, Inst::kIdXor); return true;
    case Op::kMin: select(code, d, Inst::kIdCmovg); return true;
    case Op::kMinu: select(code, d, Inst::kIdCmova); return true;
    case Op::kMax: select(code, d, Inst::kIdCmovl); return true;
    case Op::kMaxu: select(code, d, Inst::kIdCmovb); return true;
    default: return false;
  }
}

void rotate(JitCode& code, const DecodedOp& d, JitCode::InstId id, unsigned bytes) {
  code.read(x86::rcx, d.rs2);
  code.read(x86::rax, d.rs1);
  code.emit(id, JitCode::sized(x86::rax, bytes), x86::cl);
  if (bytes == 4) code->movsxd(x86::rax, x86::eax);
}

void rotate_right_by(JitCode& code, const DecodedOp& d, unsigned bytes) {
  code.read(x86::rax, d.rs1);
  code->ror(JitCode::sized(x86::rax, bytes), d.imm & (bytes == 8 ? 63 : 31));
  if (bytes == 4) code->movsxd(x86::rax, x86::eax);
}

bool emit_rotation(JitCode& code, const DecodedOp& d) {
  switch (d.op) {
    case Op::kRol: rotate(code, d, Inst::kIdRol, 8); return true;
    case Op::kRor: rotate(code, d, Inst::kIdRor, 8); return true;
    case Op::kRolw: rotate(code, d, Inst::kIdRol, 4); return true;
    case Op::kRorw: rotate(code, d, Inst::kIdRor, 4); return true;
    case Op::kRori: rotate_right_by(code, d, 8); return true;
    case Op::kRoriw: rotate_right_by(code, d, 4); return true;
    default: return false;
  }
}

bool count(JitCode& code, const DecodedOp& d, JitCode::InstId id, Features::Id needed,
           unsigned bytes) {
  if (!asmjit::CpuInfo::host().hasFeature(needed)) return false;
  code.read(x86::rax, d.rs1);
  const JitCode::Gp value = JitCode::sized(x86::rax, bytes);
  code.emit(id, value, value);
  return true;
}

bool emit_count(JitCode& code, const DecodedOp& d) {
  switch (d.op) {
    case Op::kClz: return count(code, d, Inst::kIdLzcnt, Features::kLZCNT, 8);
    case Op::kCtz: return count(code, d, Inst::kIdTzcnt, Features::kBMI, 8);
    case Op::kCpop: return count(code, d, Inst::kIdPopcnt, Features::kPOPCNT, 8);
    case Op::kClzw: return count(code, d, Inst::kIdLzcnt, Features::kLZCNT, 4);
    case Op::kCtzw: return count(code, d, Inst::kIdTzcnt, Features::kBMI, 4);
    case Op::kCpopw: return count(code, d, Inst::kIdPopcnt, Features::kPOPCNT, 4);
    default: return false;
  }
}

bool emit_extension(JitCode& code, const DecodedOp& d) {
  switch (d.op) {
    case Op::kSextB:
      code.read(x86::rax, d.rs1);
      code->movsx(x86::rax, x86::al);
      return true;
    case Op::kSextH:
      code.read(x86::rax, d.rs1);
      code->movsx(x86::rax, x86::ax);
      return true;
    case Op::kZextH:
      code.read(x86::rax, d.rs1);
      code->movzx(x86::eax, x86::ax);
      return true;
    case Op::kRev8:
      code.read(x86::rax, d.rs1);
      code->bswap(x86::rax);
      return true;
    default: return false;
  }
}

}  // namespace

bool emit_bits(JitCode& code, const JitOp& op) {
  const DecodedOp& d = op.decoded;
  if (d.op < Op::kAddUw || d.op > Op::kRev8) return false;
  if (d.rd == kSink) return true;
  const bool emitted = emit_shift_add(code, d) || emit_logic(code, d) || emit_rotation(code, d) ||
                       emit_count(code, d) || emit_extension(code, d);
  if (emitted) code.write(d.rd, x86::rax);
  return emitted;
}

}  // namespace vmrun
