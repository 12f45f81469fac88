// Copy kernels for x86-64's baseline: 16-byte lanes.

#include <emmintrin.h>

#include <cstddef>
#include <cstdint>

#include "vm_mem/internal/copy_kernels.h"
#include "vm_mem/internal/cpu_features.h"
#include "vm_mem/internal/host_instructions.h"
#include "vm_mem/internal/long_copy.h"
#include "vm_mem/internal/recoverable_asm.h"
#include "vm_mem/internal/recoverable_finish.h"
#include "vm_mem/internal/size_history.h"
#include "vm_mem/internal/word_lanes.h"

namespace vm_mem::internal {
namespace {

#include "vm_mem/internal/lane_sse2.inc"
using Lane = Lane16;
#include "vm_mem/internal/copy_shapes.inc"
#include "vm_mem/internal/recoverable_sse2.inc"
using FaultLane = FaultLane16;
VM_MEM_INLINE void leave_vectors() {}
#include "vm_mem/internal/recoverable_shapes.inc"
#include "vm_mem/internal/plain_x86.inc"

bool supported_here() { return cpu_features().sse2; }

}  // namespace

constinit const CopyKernels kSse2Kernels = make_row("sse2", supported_here, kRecoverable);

}  // namespace vm_mem::internal
