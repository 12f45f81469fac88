// Floating-point loads, stores and moves. All else of F and D is the interpreter's.

#include "tools/vmrun/hart_state.h"
#include "tools/vmrun/jit_emit.h"
#include "vm_engine/emit.h"

namespace vmrun {
namespace {

namespace x86 = asmjit::x86;
using vm_engine::MemOp;

// Above a single.
constexpr std::uint64_t kBox = 0xffff'ffff'0000'0000;
constexpr unsigned kNotEqual = 0x5;
constexpr auto kOn = static_cast<std::uint32_t>(kMstatusFs);

class FloatCode {
 public:
  FloatCode(JitCode& code, const JitOp& op, const JitFloat& surroundings)
      : code_(&code), op_(&op), around_(&surroundings) {}

  // Where FS is off, the interpreter's function traps.
  void require_on(vm_engine::CodeBuffer& buffer) {
    JitCode& code = *code_;
    code->test(status(), kOn);
    const std::size_t on = code.open_jump_if(kNotEqual);
    emit_interpreted(code, around_->runtime, *around_->op);
    const std::size_t here = code.here();
    if (code.ok()) JitCode::set_target(buffer, on, here);
  }
  void load(vm_engine::EmitConfig config, vm_engine::CodeBuffer& buffer, unsigned bytes) {
    const vm_engine::Reg gva = emit_address(*code_, op_->decoded);
    code_->here();
    const auto to = static_cast<vm_engine::Reg>(x86::rdx.id());
    if (!vm_engine::emit_load(buffer, config, to, gva, MemOp{bytes}).ok()) code_->fail();
    write(bytes);
  }
  void store(vm_engine::EmitConfig config, vm_engine::CodeBuffer& buffer, unsigned bytes) {
    const vm_engine::Reg gva = emit_address(*code_, op_->decoded);
    (*code_)->mov(x86::rdx, number(op_->decoded.rs2));
    code_->here();
    const auto value = static_cast<vm_engine::Reg>(x86::rdx.id());
    if (!vm_engine::emit_store(buffer, config, gva, value, MemOp{bytes}).ok()) code_->fail();
  }
  // rdx, of which a single has the low half.
  void write(unsigned bytes) {
    if (bytes == 4) {
      code_->load_constant(x86::rax, kBox);
      (*code_)->or_(x86::rdx, x86::rax);
    }
    (*code_)->mov(number(op_->decoded.rd), x86::rdx);
    (*code_)->or_(status(), kOn);
  }
  x86::Mem number(unsigned index) const {
    return x86::qword_ptr(x86::rbp, around_->layout.f + static_cast<std::int32_t>(index) * 8);
  }

 private:
  x86::Mem status() const { return x86::dword_ptr(x86::rbp, around_->layout.mstatus); }

  JitCode* code_;
  const JitOp* op_;
  const JitFloat* around_;
};

bool is_move(const DecodedOp& d) {
  const bool copies = d.op == Op::kFsgnjD && d.rs1 == d.rs2;
  return copies || d.op == Op::kFmvDX || d.op == Op::kFmvXD;
}

bool is_access(Op op) {
  return op == Op::kFlw || op == Op::kFld || op == Op::kFsw || op == Op::kFsd;
}

void emit_move(JitCode& code, const DecodedOp& d, FloatCode& emitted) {
  if (d.op == Op::kFmvDX) {
    code.read(x86::rdx, d.rs1);
  } else {
    code->mov(x86::rdx, emitted.number(d.rs1));
  }
  if (d.op == Op::kFmvXD) return code.write(d.rd, x86::rdx);
  emitted.write(8);
}

}  // namespace

bool emit_float(JitCode& code, const JitOp& op, const JitFloat& around,
                vm_engine::EmitConfig config, vm_engine::CodeBuffer& buffer) {
  const DecodedOp& d = op.decoded;
  if (!is_access(d.op) && !is_move(d)) return false;
  config.cookie = op.index;
  config.guest_pc = op.pc;
  FloatCode emitted(code, op, around);
  emitted.require_on(buffer);
  switch (d.op) {
    case Op::kFlw: emitted.load(config, buffer, 4); return true;
    case Op::kFld: emitted.load(config, buffer, 8); return true;
    case Op::kFsw: emitted.store(config, buffer, 4); return true;
    case Op::kFsd: emitted.store(config, buffer, 8); return true;
    default: emit_move(code, d, emitted); return true;
  }
}

}  // namespace vmrun
