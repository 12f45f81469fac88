#include "tools/vmrun/jit_runtime.h"

#include "tools/vmrun/hart_state.h"
#include "tools/vmrun/jit_code.h"
#include "tools/vmrun/loop.h"

namespace vmrun {
namespace {

namespace x86 = asmjit::x86;

// With the return address and the saved registers below it, rsp is a multiple of 16.
constexpr std::int32_t kFrameBytes = 24;
const x86::Gp kSaved[] = {x86::rbx, x86::rbp, x86::r12, x86::r13, x86::r14, x86::r15};

extern "C" Flow vmrun_jit_interpret(JitContext* context, const BlockOp* op) {
  context->op = op;
  context->flow = op->run(*context->hart, *op);
  return context->flow;
}

// The code to go on with; null where it has to be left.
extern "C" const std::byte* vmrun_jit_finish(JitContext* context, const BlockOp* op) {
  context->op = op;
  context->flow = op->run(*context->hart, *op);
  return context->flow == Flow::kJump ? context->next(context->jit) : nullptr;
}

extern "C" void vmrun_jit_loop(JitContext* context, const Loop* loop) {
  run_loop(*context->hart, *loop);
}

template <typename Function>
std::uint64_t address_of(Function* function) {
  return reinterpret_cast<std::uint64_t>(function);
}

std::int32_t distance(const HartState& state, const void* member) {
  const auto* const origin = reinterpret_cast<const char*>(state.x.data()) + kRegisterBias;
  return static_cast<std::int32_t>(static_cast<const char*>(member) - origin);
}

x86::Mem at(const x86::Gp& base, std::int32_t displacement) {
  return x86::qword_ptr(base, displacement);
}

std::size_t emit_enter(JitCode& code, const JitLayout& layout) {
  const std::size_t begin = code.here();
  for (const x86::Gp& saved : kSaved) code->push(saved);
  code->sub(x86::rsp, kFrameBytes);
  code->mov(at(x86::rsp, kFrameLimit), x86::rcx);
  code->mov(at(x86::rsp, kFrameContext), x86::r8);
  code->mov(x86::rax, x86::rdi);
  code->mov(x86::r15, x86::rdx);
  code->mov(x86::r14, at(x86::rdx, VME_CPU_FASTMEM_BASE_OFFSET));
  code->lea(x86::rbp, x86::ptr(x86::rsi, kRegisterBias));
  code->mov(x86::r13, at(x86::rbp, layout.retired));
  code.load_fixed();
  code->jmp(x86::rax);
  return begin;
}

std::size_t emit_leave(JitCode& code, const JitLayout& layout) {
  const std::size_t begin = code.here();
  code.store_fixed();
  code->mov(at(x86::rbp, layout.retired), x86::r13);
  code->add(x86::rsp, kFrameBytes);
  for (std::size_t i = std::size(kSaved); i-- > 0;) code->pop(kSaved[i]);
  code->ret();
  return begin;
}

// To a function that is given the context and rax, from a subroutine; registers and clock are
// in memory meanwhile.
void call_out(JitCode& code, const JitLayout& layout, std::uint64_t function) {
  code.store_fixed();
  code->mov(at(x86::rbp, layout.retired), x86::r13);
  code->sub(x86::rsp, 8);
  code->mov(x86::rdi, at(x86::rsp, kFrameContext + 16));
  code->mov(x86::rsi, x86::rax);
  code->mov(x86::rax, asmjit::Imm(function));
  code->call(x86::rax);
  code->add(x86::rsp, 8);
  code.load_fixed();
}

std::size_t emit_run_loop(JitCode& code, const JitLayout& layout) {
  const std::size_t begin = code.here();
  call_out(code, layout, address_of(vmrun_jit_loop));
  code->mov(x86::r13, at(x86::rbp, layout.retired));
  code->ret();
  return begin;
}

std::size_t emit_interpret(JitCode& code, const JitLayout& layout, std::size_t leave) {
  const std::size_t begin = code.here();
  const asmjit::Label stop = code->newLabel();
  call_out(code, layout, address_of(vmrun_jit_interpret));
  code->test(x86::al, x86::al);
  code->jnz(stop);
  code->ret();
  code->bind(stop);
  code->add(x86::rsp, 8);
  code->mov(x86::eax, static_cast<std::uint32_t>(JitReason::kFlow));
  code.jump(leave);
  return begin;
}

// What comes next may be of another regime.
std::size_t emit_finish(JitCode& code, const JitLayout& layout, std::size_t leave) {
  const std::size_t begin = code.here();
  const asmjit::Label stop = code->newLabel();
  code.store_fixed();
  code->mov(at(x86::rbp, layout.retired), x86::r13);
  code->mov(x86::rdi, at(x86::rsp, kFrameContext));
  code->mov(x86::rsi, x86::rax);
  code->mov(x86::rax, asmjit::Imm(address_of(vmrun_jit_finish)));
  code->call(x86::rax);
  code->mov(x86::r13, at(x86::rbp, layout.retired));
  code.load_fixed();
  code->test(x86::rax, x86::rax);
  code->jz(stop);
  code->mov(x86::r14, at(x86::r15, VME_CPU_FASTMEM_BASE_OFFSET));
  code->jmp(x86::rax);
  code->bind(stop);
  code->mov(x86::eax, static_cast<std::uint32_t>(JitReason::kFlow));
  code.jump(leave);
  return begin;
}

// A device may look at the clock.
std::size_t emit_thunk(JitCode& code, const JitLayout& layout, std::uint64_t helper) {
  const std::size_t begin = code.here();
  code->mov(at(x86::rbp, layout.retired), x86::r13);
  code->mov(x86::rax, asmjit::Imm(helper));
  code->jmp(x86::rax);
  return begin;
}

std::size_t emit_indirect(JitCode& code, const JitLayout& layout, std::size_t leave) {
  const std::size_t begin = code.here();
  code->mov(at(x86::rbp, layout.pc), x86::rax);
  code->xor_(x86::eax, x86::eax);
  code.jump(leave);
  return begin;
}

}  // namespace

JitLayout layout_of(HartState& state) {
  return {.pc = distance(state, &state.pc),
          .retired = distance(state, &state.clock.cell()),
          .f = distance(state, state.f.data()),
          .mstatus = distance(state, &state.csrs.mstatus)};
}

JitRuntime emit_runtime(JitCode& code, const JitLayout& layout) {
  JitRuntime runtime;
  runtime.enter = emit_enter(code, layout);
  runtime.leave = emit_leave(code, layout);
  runtime.indirect = emit_indirect(code, layout, runtime.leave);
  runtime.interpret = emit_interpret(code, layout, runtime.leave);
  runtime.finish = emit_finish(code, layout, runtime.leave);
  runtime.loop = emit_run_loop(code, layout);
  runtime.load = emit_thunk(code, layout, address_of(vme_load));
  runtime.store = emit_thunk(code, layout, address_of(vme_store));
  code.here();
  return runtime;
}

void emit_exit(JitCode& code, const JitRuntime& runtime, JitReason reason, const void* value) {
  code->mov(x86::rdx, asmjit::Imm(reinterpret_cast<std::uint64_t>(value)));
  code->mov(x86::eax, static_cast<std::uint32_t>(reason));
  code.jump(runtime.leave);
}

void emit_interpreted(JitCode& code, const JitRuntime& runtime, const BlockOp& op) {
  code->mov(x86::rax, asmjit::Imm(reinterpret_cast<std::uint64_t>(&op)));
  code.call(runtime.interpret);
}

void emit_interpreted_end(JitCode& code, const JitRuntime& runtime, const BlockOp& op) {
  code->mov(x86::rax, asmjit::Imm(reinterpret_cast<std::uint64_t>(&op)));
  code.jump(runtime.finish);
}

void emit_loop(JitCode& code, const JitRuntime& runtime, const Loop& loop) {
  code->mov(x86::rax, asmjit::Imm(reinterpret_cast<std::uint64_t>(&loop)));
  code.call(runtime.loop);
}

}  // namespace vmrun
