// One RV64GC hart with M, S and U mode, interpreted or translated block by block.
#ifndef VMRUN_HART_H_
#define VMRUN_HART_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "tools/vmrun/block_cache.h"
#include "tools/vmrun/hart_memory.h"
#include "tools/vmrun/hart_state.h"
#include "tools/vmrun/jit.h"
#include "tools/vmrun/mmu.h"
#include "tools/vmrun/trap_watch.h"
#include "vm_mem/memory_manager.h"

namespace vmrun {

class Trace;

enum class StopReason : std::uint8_t {
  kBudget,      // the instructions asked for have been executed
  kYield,       // somebody asked for it
  kWait,        // WFI, and nothing to wake up for
  kTrapLoop,    // the guest traps for ever; trap_watch() says where it began
  kBreakpoint,  // pc is at one, and what is there was not executed
};

// Whether an interrupt that is due comes first.
enum class StepInterrupts : std::uint8_t { kHeld, kTaken };

// Loops that were done at once.
struct LoopCount {
  std::uint64_t runs = 0;        // calls that did some
  std::uint64_t iterations = 0;  // of the guest's
  std::uint64_t refused = 0;     // calls that did none
};

class Hart {
 public:
  // Needs:   `memory` outlives the hart.
  // Errors:  kResourceExhausted  no memory for the engine
  static absl::StatusOr<std::unique_ptr<Hart>> create(vm_mem::MemoryManager& memory);

  // Executes about `instructions`: it stops at the end of the block in which they are
  // reached. Interrupts are looked at before each block: at most BlockCache::kMaxBlockOps
  // instructions apart, which `vm.cpy` may make 128 KiB of memory. Before a block that is a
  // recognised loop come as many of its iterations as run_loop() does: up to 64 KiB of
  // memory, but to the end of a page where a pin goes up or yield() is called meanwhile. Time
  // that ends within them ends them, as it does the block: at `instructions`.
  StopReason run(std::uint64_t instructions);

  // Executes one instruction, interpreted, breakpoint or not; an exception that it raises
  // is entered. kWait: it was WFI.
  StopReason step(StepInterrupts interrupts);

  // Where run() stops; null: nowhere. Needs: it outlives the hart; forget_blocks() after a change.
  void set_breakpoints(const Breakpoints* breakpoints);
  // Blocks are decoded and translated anew.
  void forget_blocks();
  // What is told of all that happens; null: nothing. Needs: it outlives the hart.
  void set_trace(Trace* trace) { trace_ = trace; }

  // Has run() return at the end of the current block. Any thread, and signal handlers.
  void yield();

  // Translates from here on. Before the first run().
  // Errors:  those of make_jit(); the hart interprets.
  absl::Status use_jit(JitOptions options, std::vector<vme_cpu*> neighbours = {});
  // Null where the hart interprets.
  const Jit* jit() const { return jit_.get(); }

  // Before the first run(). Loops are recognised otherwise.
  void set_loop_mode(LoopMode mode) { blocks_.set_loop_mode(mode); }
  const LoopCount& loops() const { return loops_; }

  HartState& state() { return state_; }
  HartMemory& memory() { return memory_; }
  TrapWatch& trap_watch() { return trap_watch_; }

  // For the functions that execute operations.
  Flow raise(const BlockOp& op, Cause cause, std::uint64_t tval);
  Flow raise_access(const BlockOp& op, vme_rc rc, AccessKind kind);
  // How far the clock may go on.
  std::uint64_t limit() const { return limit_; }
  void count_loop(std::uint64_t iterations) {
    ++loops_.runs;
    loops_.iterations += iterations;
  }
  void count_refused_loop() { ++loops_.refused; }
  void forget_code() { blocks_.flush(); }
  // After a change of what translations depend on: satp, PMP, menvcfg; SFENCE.VMA.
  void forget_translations();
  void forget_translation(std::uint64_t address);
  // After a change of the privilege or of mstatus.
  void follow_privilege();

  // For the translator: where in host memory the code at pc is, 0 where none can be
  // fetched; the block at pc, decoded from what memory holds, and interpreted, up to its end;
  // and a number that changes when code is forgotten.
  std::uint64_t find_code() { return blocks_.host_of(state_.pc); }
  const Block& decode_block() { return blocks_.decode_anew(state_.pc); }
  std::uint64_t code_epoch() const { return blocks_.epoch(); }
  Flow run_block();

 private:
  struct Pending {
    Cause cause = Cause::kIllegalInstruction;
    std::uint64_t tval = 0;
  };

  Hart(vm_mem::MemoryManager& memory, std::unique_ptr<Mmu> mmu, vm_engine::EnginePtr engine,
       vm_engine::CpuPtr cpu);
  void follow_map() {
    vm_engine::refresh(*cpu_);
    if (manager_->generation() != map_generation_) [[unlikely]]
      follow_new_map();
  }
  void follow_new_map();
  void take_up_exit();
  bool take_exception();
  void take_interrupt();
  Flow run_ops(const Block& block);
  bool is_inspected() const;
  template <bool kInspected>
  StopReason run_until(std::uint64_t end);
  Flow run_plain(std::uint64_t end) {
    limit_ = end;
    return jit_ ? jit_->run(end) : run_block();
  }
  Flow run_inspected(std::uint64_t end);
  Flow run_noted(std::uint64_t end);
  Flow run_traced(const Block& block);

  vm_mem::MemoryManager* manager_;
  std::unique_ptr<Mmu> mmu_;
  vm_engine::EnginePtr engine_;
  vm_engine::CpuPtr cpu_;
  HartState state_;
  HartMemory memory_;
  BlockCache blocks_;
  TrapWatch trap_watch_;
  Pending pending_;
  std::uint64_t map_generation_ = 0;
  std::uint64_t limit_ = 0;
  LoopCount loops_;
  std::atomic<bool> yield_{false};
  std::unique_ptr<Jit> jit_;
  const Breakpoints* breakpoints_ = nullptr;
  Trace* trace_ = nullptr;
};

}  // namespace vmrun

#endif  // VMRUN_HART_H_
