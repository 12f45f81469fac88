// The code that every block shares: into translated code, out of it, and to what only C++
// can do.
#ifndef VMRUN_JIT_RUNTIME_H_
#define VMRUN_JIT_RUNTIME_H_

#include <cstddef>
#include <cstdint>

#include "tools/vmrun/block.h"
#include "tools/vmrun/jit_block.h"
#include "vm_engine/emit_config.h"

namespace vmrun {

class JitCode;
struct HartState;

// Why translated code was left.
enum class JitReason : std::uint32_t {
  kResume,  // pc says where to go on
  kLink,    // `value` is the JitLink that was followed
  kFault,   // an access failed; `value` is the JitBlock, the vCPU's fault has the rest
  kFlow,    // an interpreted instruction ended otherwise than with kNext
};

struct JitExit {
  std::uint64_t reason = 0;
  std::uint64_t value = 0;
};

// What an interpreted instruction inside of a block leaves.
struct JitContext {
  Hart* hart = nullptr;
  const BlockOp* op = nullptr;  // null: it has retired
  Flow flow = Flow::kNext;
  // Has `op` retired. The code at the hart's pc, where that may be gone on with; else null.
  void* jit = nullptr;
  const std::byte* (*next)(void* jit) = nullptr;
};

// Where the hart's state is, in bytes from rbp.
struct JitLayout {
  std::int32_t pc = 0;
  std::int32_t retired = 0;
  std::int32_t f = 0;
  std::int32_t mstatus = 0;
};
JitLayout layout_of(HartState& state);

// Offsets in the code memory.
struct JitRuntime {
  std::size_t enter = 0;
  std::size_t leave = 0;      // reason in eax, value in rdx
  std::size_t indirect = 0;   // resumes at rax
  std::size_t interpret = 0;  // called with a BlockOp in rax
  std::size_t finish = 0;     // the same for the last of a block, jumped to
  std::size_t loop = 0;       // called with a Loop in rax
  std::size_t load = 0;       // vme_load and vme_store, with the clock up to date
  std::size_t store = 0;
};

JitRuntime emit_runtime(JitCode& code, const JitLayout& layout);

// What emit_runtime() has made at `enter`. `code` runs with `registers` (x[0]), until
// `limit` instructions are retired.
using JitEnter = JitExit (*)(const std::byte* code, std::uint64_t* registers, vme_cpu* cpu,
                             std::uint64_t limit, JitContext* context);

// In translated code, from rsp: what enter was given.
inline constexpr std::int32_t kFrameLimit = 0;
inline constexpr std::int32_t kFrameContext = 8;

// Leaves with a reason.
void emit_exit(JitCode& code, const JitRuntime& runtime, JitReason reason, const void* value);
// Goes to C++ for one instruction, and comes back where that went on to the next.
void emit_interpreted(JitCode& code, const JitRuntime& runtime, const BlockOp& op);
// The same for an instruction that never goes on to the next, but to another block.
void emit_interpreted_end(JitCode& code, const JitRuntime& runtime, const BlockOp& op);
// Goes to C++ for what run_loop() does.
void emit_loop(JitCode& code, const JitRuntime& runtime, const Loop& loop);

}  // namespace vmrun

#endif  // VMRUN_JIT_RUNTIME_H_
