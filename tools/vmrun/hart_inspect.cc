// A hart that somebody looks into: stopped at breakpoints, stepped, traced.

#include "tools/vmrun/execute.h"
#include "tools/vmrun/hart.h"
#include "tools/vmrun/trace.h"
#include "tools/vmrun/trap.h"

namespace vmrun {

void Hart::set_breakpoints(const Breakpoints* breakpoints) {
  breakpoints_ = breakpoints;
  blocks_.set_breakpoints(breakpoints);
  forget_blocks();
}

void Hart::forget_blocks() {
  blocks_.flush();
  if (jit_) jit_->forget();
}

// Traps are noted on every path, devices by what stands before them.
bool Hart::is_inspected() const {
  if (breakpoints_ != nullptr && !breakpoints_->empty()) return true;
  return trace_ != nullptr && (trace_->kinds().instructions || trace_->kinds().blocks);
}

StopReason Hart::step(StepInterrupts interrupts) {
  follow_privilege();
  if (interrupts == StepInterrupts::kTaken && has_wakeup(state_)) take_interrupt();
  follow_map();
  const Block& block = blocks_.single(state_.pc);
  const bool traced = trace_ != nullptr && trace_->kinds().instructions;
  const Flow flow = traced ? run_traced(block) : run_ops(block);
  if (flow == Flow::kTrap && take_exception()) return StopReason::kTrapLoop;
  return flow == Flow::kWait ? StopReason::kWait : StopReason::kBudget;
}

Flow Hart::run_inspected(std::uint64_t end) {
  if (trace_ == nullptr) return run_plain(end);
  if (!trace_->kinds().blocks) return run_noted(end);
  const Trace::BlockBegin begin = Trace::block_begin(state_);
  // The translator goes no further than the end of the block in which that is reached.
  const Flow flow = run_noted(begin.retired + 1);
  trace_->note_block(state_, begin);
  return flow;
}

// Instructions are interpreted, in the blocks that the translator would have made.
Flow Hart::run_noted(std::uint64_t end) {
  if (!trace_->kinds().instructions) return run_plain(end);
  return run_traced(jit_ ? decode_block() : blocks_.find(state_.pc));
}

Flow Hart::run_traced(const Block& block) {
  const std::uint64_t before = state_.clock.retired();
  for (const BlockOp* op = block.ops.data();; ++op) {
    trace_->begin_instruction(state_, *op);
    const Flow flow = op->run(*this, *op);
    const bool executed = flow != Flow::kTrap && op->run != leave_block;
    if (executed) trace_->end_instruction(state_, *op, before + op->index);
    if (flow == Flow::kNext) continue;
    state_.clock.retire(op->index + (flow == Flow::kTrap ? 0u : 1u));
    return flow;
  }
}

}  // namespace vmrun
