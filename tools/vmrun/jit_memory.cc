// Loads and stores, by vm_engine's emitter.

#include <optional>

#include "tools/vmrun/hart_state.h"
#include "tools/vmrun/jit_emit.h"
#include "vm_engine/emit.h"

namespace vmrun {
namespace {

namespace x86 = asmjit::x86;
using vm_engine::Extend;
using vm_engine::MemOp;

std::optional<MemOp> load_form(Op op) {
  switch (op) {
    case Op::kLb: return MemOp{1, Extend::kSign};
    case Op::kLh: return MemOp{2, Extend::kSign};
    case Op::kLw: return MemOp{4, Extend::kSign};
    case Op::kLd: return MemOp{8};
    case Op::kLbu: return MemOp{1};
    case Op::kLhu: return MemOp{2};
    case Op::kLwu: return MemOp{4};
    default: return std::nullopt;
  }
}

std::optional<MemOp> store_form(Op op) {
  switch (op) {
    case Op::kSb: return MemOp{1};
    case Op::kSh: return MemOp{2};
    case Op::kSw: return MemOp{4};
    case Op::kSd: return MemOp{8};
    default: return std::nullopt;
  }
}

vm_engine::Reg reg_of(JitCode::Gp gp) { return static_cast<vm_engine::Reg>(gp.id()); }

}  // namespace

vm_engine::Reg emit_address(JitCode& code, const DecodedOp& op) {
  const JitCode::Gp base = code.in_register(op.rs1, x86::rax);
  if (op.imm == 0) return reg_of(base);
  code->lea(x86::rax, x86::ptr(base, op.imm));
  return reg_of(x86::rax);
}

bool emit_memory(JitCode& code, const JitOp& op, vm_engine::EmitConfig config,
                 vm_engine::CodeBuffer& buffer) {
  const DecodedOp& d = op.decoded;
  const auto load = load_form(d.op);
  const auto store = store_form(d.op);
  if (!load && !store) return false;
  config.cookie = op.index;
  config.guest_pc = op.pc;
  const vm_engine::Reg gva = emit_address(code, d);
  absl::Status emitted;
  if (load) {
    const JitCode::Gp to = JitCode::destination(d.rd, x86::rdx);
    code.here();
    emitted = vm_engine::emit_load(buffer, config, reg_of(to), gva, *load);
    code.write(d.rd, to);
  } else {
    const JitCode::Gp value = code.in_register(d.rs2, x86::rdx);
    code.here();
    emitted = vm_engine::emit_store(buffer, config, gva, reg_of(value), *store);
  }
  if (!emitted.ok()) code.fail();
  return true;
}

}  // namespace vmrun
