// Which ISA this process runs. One file per architecture defines it.
#ifndef VM_ENGINE_INTERNAL_NATIVE_ISA_H_
#define VM_ENGINE_INTERNAL_NATIVE_ISA_H_

#include "vm_engine/emit_config.h"

namespace vm_engine::internal {

Isa native_isa();

}  // namespace vm_engine::internal

#endif  // VM_ENGINE_INTERNAL_NATIVE_ISA_H_
