// A block, in the order of its code: two exits that the rest jumps back to; the entry, which
// looks whether to stop; the instructions; the jump at the end; what follows the links
// while they are not made; the slow paths.

#include "tools/vmrun/jit_translator.h"

#include "tools/vmrun/decode.h"
#include "tools/vmrun/execute.h"
#include "tools/vmrun/hart_state.h"
#include "tools/vmrun/jit_code.h"
#include "tools/vmrun/jit_emit.h"
#include "tools/vmrun/loop.h"
#include "vm_engine/emit.h"

namespace vmrun {
namespace {

namespace x86 = asmjit::x86;

constexpr unsigned kAboveOrEqual = 0x3;
constexpr unsigned kNotEqual = 0x5;
constexpr unsigned kBelowOrEqual = 0x6;
// So many loads and stores take about as long as a call that does them all.
constexpr std::uint64_t kLoopElements = 32;

class Translation {
 public:
  Translation(JitBlock& block, const JitTarget& target, vm_engine::CodeBuffer& buffer)
      : block_(&block), target_(&target), buffer_(&buffer), config_(target.config), code_(buffer) {}

  bool run() {
    begin();
    for (const BlockOp& op : block_->ops) emit(op);
    emit_cold_links();
    block_->end = code_.here();
    if (!vm_engine::emit_slow_paths(*buffer_).ok()) return false;
    block_->end = buffer_->used;
    return code_.ok();
  }

 private:
  void begin();
  void begin_loop(const Loop& loop);
  void emit(const BlockOp& op);
  bool emit_control(const JitOp& op);
  void emit_jump_and_link(const JitOp& op);
  void emit_indirect(const JitOp& op);
  void emit_branch(const JitOp& op);
  void emit_cold_links();
  void retire();
  bool links_to(std::uint64_t pc) const;
  void link_to(std::uint64_t pc, std::size_t field);
  void jump_to(std::uint64_t pc);
  void look_up();

  JitBlock* block_;
  const JitTarget* target_;
  vm_engine::CodeBuffer* buffer_;
  vm_engine::EmitConfig config_;
  JitCode code_;
};

void Translation::begin() {
  block_->begin = code_.here();
  code_.load_constant(x86::rax, block_->pc);
  code_.jump(target_->runtime.indirect);
  config_.exit = vm_engine::ExitTarget::at_offset(code_.here());
  emit_exit(code_, target_->runtime, JitReason::kFault, block_);
  block_->entry = code_.here();
  code_->cmp(x86::r13, x86::qword_ptr(x86::rsp, kFrameLimit));
  code_.jump_if(kAboveOrEqual, block_->begin);
  code_->cmp(x86::dword_ptr(x86::r15, VME_CPU_EXIT_REQUEST_OFFSET), 0);
  code_.jump_if(kNotEqual, block_->begin);
  if (block_->loop != nullptr) begin_loop(*block_->loop);
}

// Many iterations at once, where the branch's operands are so far apart that it is worth a
// call. The last one is always made here.
void Translation::begin_loop(const Loop& loop) {
  const LoopBranch& branch = loop.branch;
  const std::uint64_t least = kLoopElements / loop.elements * branch.step_size();
  code_.load_constant(x86::rax, branch.moving.constant - branch.fixed.constant + least);
  for (const unsigned added : {branch.moving.first, branch.moving.second}) {
    if (added != 0) code_->add(x86::rax, code_.in_register(added, x86::rcx));
  }
  for (const unsigned taken : {branch.fixed.first, branch.fixed.second}) {
    if (taken != 0) code_->sub(x86::rax, code_.in_register(taken, x86::rcx));
  }
  code_.load_constant(x86::rcx, 2 * least);
  code_->cmp(x86::rax, x86::rcx);
  const std::size_t few = code_.open_jump_if(kBelowOrEqual);
  code_->mov(x86::rax, asmjit::Imm(reinterpret_cast<std::uint64_t>(&loop.rest)));
  code_->sub(x86::dword_ptr(x86::rax), 1);  // run_loop() sets it again
  const std::size_t rests = code_.open_jump_if(kAboveOrEqual);
  emit_loop(code_, target_->runtime, loop);
  code_->cmp(x86::r13, x86::qword_ptr(x86::rsp, kFrameLimit));
  code_.jump_if(kAboveOrEqual, block_->begin);
  const std::size_t body = code_.here();
  for (const std::size_t field : {few, rests}) {
    if (code_.ok()) JitCode::set_target(*buffer_, field, body);
  }
}

void Translation::retire() { code_->add(x86::r13, block_->ops.back().index + 1); }

void Translation::link_to(std::uint64_t pc, std::size_t field) {
  block_->links[block_->link_count++] = {.owner = block_, .target = pc, .field = field};
}

// An instruction at the very end of a page may reach into the next one.
bool Translation::links_to(std::uint64_t pc) const {
  const bool same_page = pc >> VME_PAGE_BITS == block_->pc >> VME_PAGE_BITS;
  return target_->links_pages || (same_page && pc % kJitPageBytes != kJitPageBytes - 2);
}

void Translation::jump_to(std::uint64_t pc) {
  if (links_to(pc)) return link_to(pc, code_.open_jump());
  code_.load_constant(x86::rax, pc);
  look_up();
}

// Goes on at rax, where a block for it has been run before.
void Translation::look_up() {
  static_assert(sizeof(JitJump) == 16);
  code_->mov(x86::ecx, x86::eax);
  code_->and_(x86::ecx, (kJitJumps - 1) << 1);
  code_->mov(x86::rdx, asmjit::Imm(reinterpret_cast<std::uint64_t>(target_->jumps)));
  code_->lea(x86::rcx, x86::ptr(x86::rdx, x86::rcx, 3));
  code_->cmp(x86::rax, x86::qword_ptr(x86::rcx, offsetof(JitJump, pc)));
  code_.jump_if(kNotEqual, target_->runtime.indirect);
  code_->jmp(x86::qword_ptr(x86::rcx, offsetof(JitJump, code)));
}

void Translation::emit_jump_and_link(const JitOp& op) {
  code_.write_constant(op.decoded.rd, op.pc + op.decoded.bytes);
  retire();
  jump_to(op.pc + op.immediate());
}

void Translation::emit_indirect(const JitOp& op) {
  const DecodedOp& d = op.decoded;
  const JitCode::Gp base = code_.in_register(d.rs1, x86::rax);
  code_->lea(x86::rax, x86::ptr(base, d.imm));
  code_->and_(x86::rax, -2);
  if (d.rd != kSink) {
    code_.load_constant(x86::rdx, op.pc + d.bytes);
    code_.write(d.rd, x86::rdx);
  }
  retire();
  look_up();
}

void Translation::emit_branch(const JitOp& op) {
  retire();
  const unsigned condition = emit_compare(code_, op.decoded);
  const std::uint64_t taken = op.pc + op.immediate();
  const std::uint64_t next = op.pc + op.decoded.bytes;
  const std::size_t field = code_.open_jump_if(condition);
  if (links_to(taken)) {
    link_to(taken, field);
    return jump_to(next);
  }
  jump_to(next);
  const std::size_t far = code_.here();
  if (code_.ok()) JitCode::set_target(*buffer_, field, far);
  jump_to(taken);
}

bool Translation::emit_control(const JitOp& op) {
  const DecodedOp& d = op.decoded;
  if (is_branch(d.op)) return emit_branch(op), true;
  if (d.op == Op::kJal) return emit_jump_and_link(op), true;
  if (d.op == Op::kJalr) return emit_indirect(op), true;
  return false;
}

void Translation::emit(const BlockOp& op) {
  if (op.run == leave_block) {
    retire();
    return jump_to(op.pc);
  }
  JitOp one{.decoded = op.bytes == 2 ? decode_compressed(static_cast<std::uint16_t>(op.raw))
                                     : decode(op.raw),
            .pc = op.pc,
            .index = op.index};
  one.decoded.rd = op.rd;
  if (emit_control(one) || emit_integer(code_, one) || emit_muldiv(code_, one) ||
      emit_bits(code_, one)) {
    return;
  }
  vm_engine::EmitConfig config = config_;
  if (target_->slow->contains(op.pc)) config.address_mode = vm_engine::AddressMode::kGuest;
  const JitFloat around{.runtime = target_->runtime, .layout = target_->layout, .op = &op};
  if (emit_memory(code_, one, config, *buffer_) ||
      emit_float(code_, one, around, config, *buffer_)) {
    return;
  }
  const bool last = &op == &block_->ops.back();
  (last ? emit_interpreted_end : emit_interpreted)(code_, target_->runtime, op);
}

void Translation::emit_cold_links() {
  for (std::size_t i = 0; i < block_->link_count; ++i) {
    JitLink& link = block_->links[i];
    link.cold = code_.here();
    emit_exit(code_, target_->runtime, JitReason::kLink, &link);
    if (code_.ok()) JitCode::set_target(*buffer_, link.field, link.cold);
  }
}

}  // namespace

bool translate(JitBlock& block, const JitTarget& target, vm_engine::CodeBuffer& buffer) {
  buffer.fault_sites.clear();
  buffer.slow_paths.clear();
  return Translation(block, target, buffer).run();
}

}  // namespace vmrun
