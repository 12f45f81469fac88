// One RV64GC hart with M, S and U mode, interpreted or translated block by block.
#ifndef VMRUN_HART_H_
#define VMRUN_HART_H_

#include <atomic>
#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "tools/vmrun/block_cache.h"
#include "tools/vmrun/hart_memory.h"
#include "tools/vmrun/hart_state.h"
#include "tools/vmrun/jit.h"
#include "tools/vmrun/mmu.h"
#include "tools/vmrun/trap_watch.h"
#include "vm_mem/memory_manager.h"

namespace vmrun {

enum class StopReason : std::uint8_t {
  kBudget,    // the instructions asked for have been executed
  kYield,     // somebody asked for it
  kWait,      // WFI, and nothing to wake up for
  kTrapLoop,  // the guest traps for ever; trap_watch() says where it began
};

class Hart {
 public:
  // Needs:   `memory` outlives the hart.
  // Errors:  kResourceExhausted  no memory for the engine
  static absl::StatusOr<std::unique_ptr<Hart>> create(vm_mem::MemoryManager& memory);

  // Executes about `instructions`: it stops at the end of the block in which they are
  // reached. Interrupts are looked at before each block, that is at most
  // BlockCache::kMaxBlockOps instructions apart.
  StopReason run(std::uint64_t instructions);

  // Has run() return at the end of the current block. Any thread, and signal handlers.
  void yield();

  // Translates from here on. Before the first run().
  // Errors:  those of make_jit(); the hart interprets.
  absl::Status use_jit(JitOptions options);
  // Null where the hart interprets.
  const Jit* jit() const { return jit_.get(); }

  HartState& state() { return state_; }
  HartMemory& memory() { return memory_; }
  TrapWatch& trap_watch() { return trap_watch_; }

  // For the functions that execute operations.
  Flow raise(const BlockOp& op, Cause cause, std::uint64_t tval);
  Flow raise_access(const BlockOp& op, vme_rc rc, AccessKind kind);
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
  void follow_map();
  bool take_exception();

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
  std::atomic<bool> yield_{false};
  std::unique_ptr<Jit> jit_;
};

}  // namespace vmrun

#endif  // VMRUN_HART_H_
