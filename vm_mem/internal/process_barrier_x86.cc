#include <cpuid.h>

#include "vm_mem/internal/process_barrier.h"

namespace vm_mem::internal {

// Source:  AMD APM vol. 3, CPUID Fn8000_0008_EBX bit 3 (INVLPGB): with it the kernel may
//          drop translations on other CPUs without interrupting them.
absl::Status protection_change_interrupts() {
  constexpr unsigned kInvlpgb = 1u << 3;
  unsigned eax = 0;
  unsigned ebx = 0;
  unsigned ecx = 0;
  unsigned edx = 0;
  if (__get_cpuid(0x8000'0008, &eax, &ebx, &ecx, &edx) != 0 && (ebx & kInvlpgb) != 0) {
    return absl::UnimplementedError("this CPU can change protections without an interrupt");
  }
  return absl::OkStatus();
}

}  // namespace vm_mem::internal
