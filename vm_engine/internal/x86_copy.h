// Copies, fills and stubs of x86-64 code.
#ifndef VM_ENGINE_INTERNAL_X86_COPY_H_
#define VM_ENGINE_INTERNAL_X86_COPY_H_

#include "vm_engine/internal/emit_back_end.h"

namespace vm_engine::internal {

absl::Status x86_copy(const EmitConfig& config, const CopyRequest& request, Fragment& made);
absl::Status x86_fill(const EmitConfig& config, const FillRequest& request, Fragment& made);
absl::Status x86_stubs(const EmitConfig& config, Fragment& made, Stubs& stubs);

}  // namespace vm_engine::internal

#endif  // VM_ENGINE_INTERNAL_X86_COPY_H_
