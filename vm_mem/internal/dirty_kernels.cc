#include "vm_mem/internal/dirty_kernels.h"

#include "vm_mem/internal/startup.h"

namespace vm_mem::internal {
namespace {

constexpr const DirtyKernels* kBuiltRows[] = {
#if defined(__x86_64__)
    &kAvx512DirtyKernels,
    &kAvx2DirtyKernels,
    &kSse2DirtyKernels,
#elif defined(__aarch64__)
    &kNeonDirtyKernels,
#endif
    &kScalarDirtyKernels,
};

// A copy row without a namesake here (sve) is as wide as the best row, or wider.
const DirtyKernels& choose() {
  for (const DirtyKernels* row : kBuiltRows) {
    if (row->isa == startup().row->isa && row->supported()) return *row;
  }
  for (const DirtyKernels* row : kBuiltRows) {
    if (row->supported()) return *row;
  }
  return kScalarDirtyKernels;
}

}  // namespace

std::span<const DirtyKernels* const> built_dirty_kernels() { return kBuiltRows; }

const DirtyKernels& active_dirty_kernels() {
  static const DirtyKernels& chosen = choose();
  return chosen;
}

}  // namespace vm_mem::internal
