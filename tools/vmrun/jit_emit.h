// Instructions as host code, by groups. Each function gives false where the operation is
// not of its group, and has then emitted nothing.
#ifndef VMRUN_JIT_EMIT_H_
#define VMRUN_JIT_EMIT_H_

#include <cstdint>

#include "tools/vmrun/decoded_op.h"
#include "tools/vmrun/jit_code.h"
#include "tools/vmrun/jit_runtime.h"
#include "vm_engine/emit_config.h"

namespace vmrun {

// rd is kSink where the instruction names x0.
struct JitOp {
  DecodedOp decoded;
  std::uint64_t pc = 0;
  std::uint16_t index = 0;  // in its block

  std::uint64_t immediate() const { return static_cast<std::uint64_t>(std::int64_t{decoded.imm}); }
};

bool emit_integer(JitCode& code, const JitOp& op);
bool emit_muldiv(JitCode& code, const JitOp& op);
bool emit_bits(JitCode& code, const JitOp& op);
// `config` is that of the block; what concerns this access is filled in.
bool emit_memory(JitCode& code, const JitOp& op, vm_engine::EmitConfig config,
                 vm_engine::CodeBuffer& buffer);
// Where a load's or store's address is, which this emits: rax, or a guest register.
vm_engine::Reg emit_address(JitCode& code, const DecodedOp& op);

// What an instruction of F or D may fall back on.
struct JitFloat {
  JitRuntime runtime;
  JitLayout layout;
  const BlockOp* op = nullptr;
};
// As emit_memory().
bool emit_float(JitCode& code, const JitOp& op, const JitFloat& around,
                vm_engine::EmitConfig config, vm_engine::CodeBuffer& buffer);

// The condition of a branch as x86 numbers them, after comparing rs1 with rs2, which this
// emits.
unsigned emit_compare(JitCode& code, const DecodedOp& op);
constexpr bool is_branch(Op op) { return op >= Op::kBeq && op <= Op::kBgeu; }

}  // namespace vmrun

#endif  // VMRUN_JIT_EMIT_H_
