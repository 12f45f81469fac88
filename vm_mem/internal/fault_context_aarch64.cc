#include <ucontext.h>

#include "vm_mem/internal/fault_context.h"

namespace vm_mem::internal {

std::uintptr_t program_counter(const void* context) {
  return static_cast<const ucontext_t*>(context)->uc_mcontext.pc;
}

void set_program_counter(void* context, std::uintptr_t address) {
  static_cast<ucontext_t*>(context)->uc_mcontext.pc = address;
}

}  // namespace vm_mem::internal
