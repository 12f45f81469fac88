// Copy kernels for x86-64 with AVX2: 32-byte lanes.

#include <immintrin.h>

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

VM_MEM_TARGET_BEGIN("avx2")

#include "vm_mem/internal/lane_avx2.inc"
using Lane = Lane32;
#include "vm_mem/internal/copy_shapes.inc"
#include "vm_mem/internal/recoverable_avx2.inc"
using FaultLane = FaultLane32;
VM_MEM_INLINE void leave_vectors() { _mm256_zeroupper(); }
#include "vm_mem/internal/recoverable_shapes.inc"
#include "vm_mem/internal/plain_x86.inc"

VM_MEM_TARGET_END

bool supported_here() { return cpu_features().avx2; }

}  // namespace

constinit const CopyKernels kAvx2Kernels = make_row("avx2", supported_here, kRecoverable);

}  // namespace vm_mem::internal
