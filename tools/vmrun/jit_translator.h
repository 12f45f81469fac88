// Decoded blocks to host code.
#ifndef VMRUN_JIT_TRANSLATOR_H_
#define VMRUN_JIT_TRANSLATOR_H_

#include <cstddef>
#include <cstdint>
#include <unordered_set>

#include "tools/vmrun/jit_block.h"
#include "tools/vmrun/jit_runtime.h"
#include "vm_engine/emit_config.h"

namespace vmrun {

// What an indirect jump looks its target up in, by the low bits of the guest address.
struct JitJump {
  std::uint64_t pc = 1;  // odd: none
  const std::byte* code = nullptr;
};
inline constexpr std::size_t kJitJumps = 4096;

struct JitTarget {
  JitRuntime runtime;
  JitLayout layout;
  vm_engine::EmitConfig config;  // of its regime
  const JitJump* jumps = nullptr;
  // Direct jumps into other pages hold only as long as what is seen there.
  bool links_pages = false;
  // Addresses of loads and stores that are a helper's from the start.
  const std::unordered_set<std::uint64_t>* slow = nullptr;
};

// The most that a block takes.
inline constexpr std::size_t kJitBlockRoom = 64 << 10;

// Appends the code of block.ops; fills in where it is, and the block's links. The buffer's
// fault sites are those of the block afterwards.
// Needs:   kJitBlockRoom bytes in the buffer.
// Errors:  false: something could not be emitted; the block is not to be run.
[[nodiscard]] bool translate(JitBlock& block, const JitTarget& target,
                             vm_engine::CodeBuffer& buffer);

}  // namespace vmrun

#endif  // VMRUN_JIT_TRANSLATOR_H_
