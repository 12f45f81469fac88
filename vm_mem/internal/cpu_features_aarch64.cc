#include <sys/auxv.h>

#include "vm_mem/internal/cpu_features.h"

namespace vm_mem::internal {
namespace {

// Source:  Linux, Documentation/arm64/elf_hwcaps.rst: bit 1, HWCAP_ASIMD.
constexpr unsigned long kHwcapAsimd = 1ul << 1;

}  // namespace

CpuFeatures detect_cpu_features() {
  CpuFeatures found;
  found.neon = (getauxval(AT_HWCAP) & kHwcapAsimd) != 0;
  return found;
}

}  // namespace vm_mem::internal
