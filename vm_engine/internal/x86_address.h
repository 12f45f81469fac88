// From guest virtual addresses to host memory: the soft TLB's probe, and the check of an
// address that may exceed the fastmem arena.
#ifndef VM_ENGINE_INTERNAL_X86_ADDRESS_H_
#define VM_ENGINE_INTERNAL_X86_ADDRESS_H_

#include <cstdint>

#include "vm_engine/internal/x86_fragment.h"

namespace vm_engine::internal {

// Writes what makes `range` accessible, or else goes to the slow path, and says where it
// then is. Takes of `free` what the place keeps; `temporary`, not in `free` any more, is
// changed.
HostOperand address_of(X86Fragment& out, const EmitConfig& config, const GuestRange& range,
                       RegSet& free, Reg temporary);

}  // namespace vm_engine::internal

#endif  // VM_ENGINE_INTERNAL_X86_ADDRESS_H_
