// Loads, stores and fills of x86-64 code.
#ifndef VM_ENGINE_INTERNAL_X86_ACCESS_H_
#define VM_ENGINE_INTERNAL_X86_ACCESS_H_

#include "vm_engine/internal/emit_back_end.h"

namespace vm_engine::internal {

absl::Status x86_load(const EmitConfig& config, const AccessRequest& request, Fragment& made);
absl::Status x86_store(const EmitConfig& config, const AccessRequest& request, Fragment& made);

}  // namespace vm_engine::internal

#endif  // VM_ENGINE_INTERNAL_X86_ACCESS_H_
