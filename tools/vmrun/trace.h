// What the guest did, one line an event. docs/vmrun.md, "Looking inside", describes the lines.
#ifndef VMRUN_TRACE_H_
#define VMRUN_TRACE_H_

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

#include "tools/vmrun/block.h"
#include "tools/vmrun/hart_state.h"
#include "tools/vmrun/output.h"
#include "tools/vmrun/trap_watch.h"
#include "vm_mem/access.h"

namespace vmrun {

struct TraceKinds {
  bool instructions = false;
  bool blocks = false;
  bool traps = false;
  bool mmio = false;

  friend constexpr bool operator==(const TraceKinds&, const TraceKinds&) = default;
};

// "insn,trap": a list of insn, block, trap and mmio; nullopt where it is none.
std::optional<TraceKinds> parse_trace_kinds(std::string_view list);

struct TracedAccess {
  const char* kind = nullptr;  // "read", "write"
  std::uint64_t address = 0;   // guest physical
  unsigned bytes = 0;
  std::uint64_t value = 0;
  vm_mem::AccessFault fault = vm_mem::AccessFault::kNone;
};

class Trace {
 public:
  // Needs:  `output` outlives this object.
  Trace(Output& output, TraceKinds kinds) : output_(&output), kinds_(kinds) {}

  const TraceKinds& kinds() const { return kinds_; }
  const Output& output() const { return *output_; }

  // Around an instruction; one that raised an exception has no end. `number` is how many
  // the hart had retired before it.
  void begin_instruction(const HartState& state, const BlockOp& op);
  void end_instruction(const HartState& state, const BlockOp& op, std::uint64_t number);

  // What a block had retired when it was left. Needs: the hart's state as the block began.
  struct BlockBegin {
    std::uint64_t pc = 0;
    std::uint64_t retired = 0;
    Privilege privilege = Privilege::kMachine;
  };
  static BlockBegin block_begin(const HartState& state) {
    return {state.pc, state.clock.retired(), state.privilege};
  }
  void note_block(const HartState& state, const BlockBegin& begin);

  // After it was entered; `from` is the privilege before.
  void note_exception(const HartState& state, const TrapRecord& record, Privilege from);
  void note_interrupt(const HartState& state, Interrupt interrupt, std::uint64_t pc,
                      Privilege from);

  void note_access(const HartState& state, const TracedAccess& access, std::string_view device);

 private:
  Output* output_;
  TraceKinds kinds_;
  // As they were when the instruction began.
  std::array<std::uint64_t, 33> x_{};
  std::array<std::uint64_t, 32> f_{};
  Privilege privilege_ = Privilege::kMachine;
  std::uint64_t csr_ = 0;
};

}  // namespace vmrun

#endif  // VMRUN_TRACE_H_
