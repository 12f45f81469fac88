#include "vm_mem/internal/fault_fixups.h"

// Made by the linker. Hidden: a plugin that has the library too has a table of its own.
extern "C" [[gnu::visibility("hidden")]] const vm_mem::internal::FaultFixup __start_vm_mem_fixups[];
extern "C" [[gnu::visibility("hidden")]] const vm_mem::internal::FaultFixup __stop_vm_mem_fixups[];

namespace vm_mem::internal {

std::span<const FaultFixup> fault_fixups() { return {__start_vm_mem_fixups, __stop_vm_mem_fixups}; }

std::uintptr_t landing_of(std::uintptr_t address) {
  for (const FaultFixup& fixup : fault_fixups()) {
    if (fixup.instruction_address() == address) return fixup.landing_address();
  }
  return 0;
}

}  // namespace vm_mem::internal
