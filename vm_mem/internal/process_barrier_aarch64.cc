#include "vm_mem/internal/process_barrier.h"

namespace vm_mem::internal {

// TLBI broadcasts: no other CPU is interrupted.
absl::Status protection_change_interrupts() {
  return absl::UnimplementedError("changing a protection interrupts no other CPU on AArch64");
}

}  // namespace vm_mem::internal
