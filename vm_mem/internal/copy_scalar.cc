// Copy kernels in 8-byte words, for every CPU: the row of last resort, and the one
// that isolates a bug.

#include <cstddef>
#include <cstdint>

#include "vm_mem/internal/copy_kernels.h"
#include "vm_mem/internal/host_instructions.h"
#include "vm_mem/internal/long_copy.h"
#include "vm_mem/internal/recoverable_asm.h"
#include "vm_mem/internal/recoverable_finish.h"
#include "vm_mem/internal/size_history.h"
#include "vm_mem/internal/word_lanes.h"

namespace vm_mem::internal {
namespace {

struct Lane : Lane8 {
  VM_MEM_INLINE static void store_streaming(std::byte* p, Reg r) { store(p, r); }
  VM_MEM_INLINE static void fence() { store_fence(); }
};

#include "vm_mem/internal/copy_shapes.inc"
#include "vm_mem/internal/recoverable_lane8.inc"
using FaultLane = FaultLane8;
VM_MEM_INLINE void leave_vectors() {}
#include "vm_mem/internal/recoverable_shapes.inc"
#include "vm_mem/internal/plain_by_ladder.inc"

bool supported_here() { return true; }

}  // namespace

constinit const CopyKernels kScalarKernels = make_row("scalar", supported_here, kRecoverable);

}  // namespace vm_mem::internal
