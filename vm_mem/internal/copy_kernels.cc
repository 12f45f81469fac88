#include "vm_mem/internal/copy_kernels.h"

namespace vm_mem::internal {
namespace {

constexpr const CopyKernels* kBuilt[] = {
#if defined(__x86_64__)
    &kAvx512Kernels,
    &kAvx2Kernels,
    &kSse2Kernels,
#elif defined(__aarch64__)
    &kSveKernels,
    &kNeonKernels,
#endif
    &kScalarKernels,
};

}  // namespace

std::span<const CopyKernels* const> built_copy_kernels() { return kBuilt; }

}  // namespace vm_mem::internal
