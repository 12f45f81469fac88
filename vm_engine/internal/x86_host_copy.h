// The two halves of x86_copy, and what stubs and fills share with them.
#ifndef VM_ENGINE_INTERNAL_X86_HOST_COPY_H_
#define VM_ENGINE_INTERNAL_X86_HOST_COPY_H_

#include "vm_engine/internal/emit_back_end.h"
#include "vm_engine/internal/x86_code.h"
#include "vm_engine/internal/x86_plan.h"

namespace vm_engine::internal {

absl::Status x86_host_copy(const EmitConfig& config, const CopyRequest& request, EmitForm form,
                           RegSet free, Fragment& made);
absl::Status x86_guest_copy(const EmitConfig& config, const CopyRequest& request, EmitForm form,
                            RegSet free, Fragment& made);
// Of no bytes: in kGuest there is a result all the same.
absl::Status x86_copy_nothing(const EmitConfig& config, Fragment& made);

// A call of memcpy_raw.
absl::Status call_core(X86Code& code, const EmitConfig& config, const CopyRequest& request);
// Ends a use of vectors of `width` bytes: vzeroupper where that is allowed and of use.
void end_vectors(X86Code& code, const EmitConfig& config, const VectorPool& pool, unsigned width);

}  // namespace vm_engine::internal

#endif  // VM_ENGINE_INTERNAL_X86_HOST_COPY_H_
