#include <ucontext.h>

#include "vm_mem/internal/fault_context.h"

namespace vm_mem::internal {

std::uintptr_t program_counter(const void* context) {
  return static_cast<std::uintptr_t>(
      static_cast<const ucontext_t*>(context)->uc_mcontext.gregs[REG_RIP]);
}

void set_program_counter(void* context, std::uintptr_t address) {
  static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_RIP] = static_cast<greg_t>(address);
}

}  // namespace vm_mem::internal
