// The M extension: products and quotients in rax and rdx, the divisor in rcx.

#include "tools/vmrun/hart_state.h"
#include "tools/vmrun/jit_emit.h"

namespace vmrun {
namespace {

namespace x86 = asmjit::x86;
namespace Inst = x86::Inst;

enum class Sign : std::uint8_t { kSigned, kUnsigned };
enum class Part : std::uint8_t { kQuotient, kRemainder };

void multiply(JitCode& code, const DecodedOp& d, unsigned bytes) {
  code.read(x86::rax, d.rs1);
  if (bytes == 8) {
    code.emit(Inst::kIdImul, x86::rax, code.operand(d.rs2, 8, x86::rcx));
  } else {
    code.emit(Inst::kIdImul, x86::eax, code.operand(d.rs2, 4, x86::rcx));
    code->movsxd(x86::rax, x86::eax);
  }
  code.write(d.rd, x86::rax);
}

void multiply_high(JitCode& code, const DecodedOp& d, Sign sign) {
  code.read(x86::rax, d.rs1);
  code.read(x86::rcx, d.rs2);
  if (sign == Sign::kSigned) {
    code->imul(x86::rcx);
  } else {
    code->mul(x86::rcx);
  }
  code.write(d.rd, x86::rdx);
}

// As if unsigned; a negative first factor counted 2^64 too much of the second.
void multiply_high_mixed(JitCode& code, const DecodedOp& d) {
  code.read(x86::rax, d.rs1);
  code.read(x86::rcx, d.rs2);
  code->mul(x86::rcx);
  code.read(x86::rax, d.rs1);
  code->sar(x86::rax, 63);
  code->and_(x86::rax, x86::rcx);
  code->sub(x86::rdx, x86::rax);
  code.write(d.rd, x86::rdx);
}

// Divides rax by rcx, of `bytes`; what x86 would trap at is left out by the caller.
void divide_registers(JitCode& code, unsigned bytes, Sign sign) {
  const JitCode::Gp divisor = JitCode::sized(x86::rcx, bytes);
  if (sign == Sign::kUnsigned) {
    code->xor_(x86::edx, x86::edx);
    code->div(divisor);
    return;
  }
  if (bytes == 8) {
    code->cqo();
  } else {
    code->cdq();
  }
  code->idiv(divisor);
}

// By -1: the quotient is the negation, which overflows as the manual has it.
void divide_by_minus_one(JitCode& code, unsigned bytes) {
  code->neg(JitCode::sized(x86::rax, bytes));
  code->xor_(x86::edx, x86::edx);
}

// By 0: the quotient is all ones, the remainder the dividend.
void divide_by_zero(JitCode& code) {
  code->mov(x86::rdx, x86::rax);
  code->mov(x86::rax, asmjit::Imm(-1));
}

void divide(JitCode& code, const DecodedOp& d, unsigned bytes, Sign sign, Part part) {
  const asmjit::Label zero = code->newLabel();
  const asmjit::Label minus_one = code->newLabel();
  const asmjit::Label done = code->newLabel();
  const JitCode::Gp divisor = JitCode::sized(x86::rcx, bytes);
  code.read(x86::rax, d.rs1);
  code.read(x86::rcx, d.rs2);
  code->test(divisor, divisor);
  code->jz(zero);
  if (sign == Sign::kSigned) {
    code->cmp(divisor, asmjit::Imm(-1));
    code->je(minus_one);
  }
  divide_registers(code, bytes, sign);
  code->jmp(done);
  code->bind(minus_one);
  divide_by_minus_one(code, bytes);
  code->jmp(done);
  code->bind(zero);
  divide_by_zero(code);
  code->bind(done);
  const JitCode::Gp result = part == Part::kQuotient ? x86::rax : x86::rdx;
  if (bytes == 4) code->movsxd(result, result.r32());
  code.write(d.rd, result);
}

bool emit_divide(JitCode& code, const DecodedOp& d) {
  constexpr Sign kS = Sign::kSigned;
  constexpr Sign kU = Sign::kUnsigned;
  switch (d.op) {
    case Op::kDiv: divide(code, d, 8, kS, Part::kQuotient); return true;
    case Op::kDivu: divide(code, d, 8, kU, Part::kQuotient); return true;
    case Op::kRem: divide(code, d, 8, kS, Part::kRemainder); return true;
    case Op::kRemu: divide(code, d, 8, kU, Part::kRemainder); return true;
    case Op::kDivw: divide(code, d, 4, kS, Part::kQuotient); return true;
    case Op::kDivuw: divide(code, d, 4, kU, Part::kQuotient); return true;
    case Op::kRemw: divide(code, d, 4, kS, Part::kRemainder); return true;
    case Op::kRemuw: divide(code, d, 4, kU, Part::kRemainder); return true;
    default: return false;
  }
}

}  // namespace

bool emit_muldiv(JitCode& code, const JitOp& op) {
  const DecodedOp& d = op.decoded;
  switch (d.op) {
    case Op::kMul: multiply(code, d, 8); return true;
    case Op::kMulw: multiply(code, d, 4); return true;
    case Op::kMulh: multiply_high(code, d, Sign::kSigned); return true;
    case Op::kMulhu: multiply_high(code, d, Sign::kUnsigned); return true;
    case Op::kMulhsu: multiply_high_mixed(code, d); return true;
    default: return emit_divide(code, d);
  }
}

}  // namespace vmrun
