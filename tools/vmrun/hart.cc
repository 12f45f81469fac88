#include "tools/vmrun/hart.h"

#include <utility>

#include "tools/vmrun/jit_watch.h"
#include "tools/vmrun/loop.h"
#include "tools/vmrun/trace.h"
#include "tools/vmrun/trap.h"

namespace vmrun {

absl::StatusOr<std::unique_ptr<Hart>> Hart::create(vm_mem::MemoryManager& memory) {
  auto mmu = std::make_unique<Mmu>(memory);
  absl::StatusOr<vme_engine*> made = vm_engine::create_engine(
      memory, {.translate = Mmu::translate, .translate_opaque = mmu.get()});
  if (!made.ok()) return made.status();
  vm_engine::EnginePtr engine(*made);
  vme_cpu* cpu = nullptr;
  if (vme_cpu_create(engine.get(), &cpu) != VME_OK) {
    return absl::ResourceExhaustedError("no memory for a vCPU");
  }
  return std::unique_ptr<Hart>(
      new Hart(memory, std::move(mmu), std::move(engine), vm_engine::CpuPtr(cpu)));
}

Hart::Hart(vm_mem::MemoryManager& memory, std::unique_ptr<Mmu> mmu, vm_engine::EnginePtr engine,
           vm_engine::CpuPtr cpu)
    : manager_(&memory),
      mmu_(std::move(mmu)),
      engine_(std::move(engine)),
      cpu_(std::move(cpu)),
      memory_(*cpu_),
      blocks_(*cpu_) {
  mmu_->serve(state_);
  state_.pins.set_bell([this] { request_exit(*cpu_); });
}

absl::Status Hart::use_jit(JitOptions options, std::vector<vme_cpu*> neighbours) {
  auto made = make_jit(*this, *engine_, *manager_, options, std::move(neighbours));
  if (!made.ok()) return made.status();
  jit_ = *std::move(made);
  return absl::OkStatus();
}

void Hart::yield() {
  yield_.store(true, std::memory_order_relaxed);
  request_exit(*cpu_);
}

StopReason Hart::run(std::uint64_t instructions) {
  follow_privilege();
  const std::uint64_t end = state_.clock.retired() + instructions;
  return is_inspected() ? run_until<true>(end) : run_until<false>(end);
}

template <bool kInspected>
StopReason Hart::run_until(std::uint64_t end) {
  while (state_.clock.retired() < end) {
    take_up_exit();
    if (yield_.load(std::memory_order_relaxed)) [[unlikely]] {
      yield_.store(false, std::memory_order_relaxed);
      return StopReason::kYield;
    }
    if (has_wakeup(state_)) take_interrupt();
    follow_map();
    if constexpr (kInspected) {
      if (breakpoints_ != nullptr && breakpoints_->contains(state_.pc)) {
        return StopReason::kBreakpoint;
      }
    }
    switch (kInspected ? run_inspected(end) : run_plain(end)) {
      case Flow::kWait: return StopReason::kWait;
      case Flow::kTrap:
        if (take_exception()) return StopReason::kTrapLoop;
        break;
      default: break;
    }
  }
  return StopReason::kBudget;
}

Flow Hart::run_block() {
  const Block& block = blocks_.find(state_.pc);
  if (block.loop != nullptr && !block.loop->is_resting()) {
    run_loop(*this, *block.loop);
    if (state_.clock.retired() >= limit_) return Flow::kJump;
  }
  return run_ops(block);
}

Flow Hart::run_ops(const Block& block) {
  const BlockOp* op = block.ops.data();
  Flow flow = op->run(*this, *op);
  while (flow == Flow::kNext) {
    ++op;
    flow = op->run(*this, *op);
  }
  state_.clock.retire(op->index + (flow == Flow::kTrap ? 0u : 1u));
  return flow;
}

// What asks for an exit sets it before: whoever does so from here on is seen by the next loop.
// The translator sees to it itself.
void Hart::take_up_exit() {
  constexpr std::uint32_t kBits = kExitNow | VME_EXIT_CODE;
  if ((__atomic_load_n(&cpu_->exit_request, __ATOMIC_RELAXED) & kBits) == 0 || jit_) return;
  __atomic_fetch_and(&cpu_->exit_request, ~kBits, __ATOMIC_SEQ_CST);
}

void Hart::take_interrupt() {
  const auto interrupt = takeable_interrupt(state_);
  if (!interrupt) return;
  const std::uint64_t pc = state_.pc;
  const Privilege from = state_.privilege;
  enter_interrupt(state_, *interrupt);
  follow_privilege();
  if (trace_ != nullptr && trace_->kinds().traps) {
    trace_->note_interrupt(state_, *interrupt, pc, from);
  }
}

void Hart::follow_new_map() {
  map_generation_ = manager_->generation();
  mmu_->follow_map();
  // The soft TLB has entries by now where a helper has followed the map earlier, within a
  // block: they may only go together with what the Mmu knows of their size.
  forget_translations();
  forget_blocks();
}

bool Hart::take_exception() {
  const TrapRecord record{.pc = state_.pc,
                          .cause = pending_.cause,
                          .tval = pending_.tval,
                          .retired = state_.clock.retired()};
  const Privilege from = state_.privilege;
  enter_exception(state_, pending_.cause, pending_.tval);
  follow_privilege();
  if (trace_ != nullptr && trace_->kinds().traps) trace_->note_exception(state_, record, from);
  return trap_watch_.note_exception(record);
}

void Hart::forget_translations() {
  mmu_->forget_pages();
  vme_tlb_flush(cpu_.get());
  if (jit_) jit_->forget_translations();
}

void Hart::forget_translation(std::uint64_t address) {
  const std::uint64_t bytes = mmu_->largest_page();
  const std::uint64_t begin = address & ~(bytes - 1);
  vme_tlb_flush_range(cpu_.get(), begin, bytes);
  if (jit_) jit_->forget_translations_of(begin, bytes);
}

void Hart::follow_privilege() {
  memory_.set_mode(data_mode(state_));
  blocks_.set_mode(fetch_mode(state_));
}

Flow Hart::raise(const BlockOp& op, Cause cause, std::uint64_t tval) {
  state_.pc = op.pc;
  pending_ = {.cause = cause, .tval = tval};
  return Flow::kTrap;
}

Flow Hart::raise_access(const BlockOp& op, vme_rc rc, AccessKind kind) {
  return raise(op, cause_of(rc, kind), memory_.fault_address());
}

}  // namespace vmrun
