#include <sys/auxv.h>

#include "vm_mem/internal/cpu_features.h"

namespace vm_mem::internal {
namespace {

// Source:  Linux, Documentation/arm64/elf_hwcaps.rst. A bit is set where the CPU has the
//          feature and the kernel saves its registers.
constexpr unsigned long kHwcapAsimd = 1ul << 1;
constexpr unsigned long kHwcapSve = 1ul << 22;

}  // namespace

CpuFeatures detect_cpu_features() {
  CpuFeatures found;
  const unsigned long hwcap = getauxval(AT_HWCAP);
  found.neon = (hwcap & kHwcapAsimd) != 0;
  found.sve = (hwcap & kHwcapSve) != 0;
  return found;
}

}  // namespace vm_mem::internal
