// The program counter in what a signal handler gets as its third argument.
#ifndef VM_MEM_INTERNAL_FAULT_CONTEXT_H_
#define VM_MEM_INTERNAL_FAULT_CONTEXT_H_

#include <cstdint>

namespace vm_mem::internal {

std::uintptr_t program_counter(const void* context);
void set_program_counter(void* context, std::uintptr_t address);

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_FAULT_CONTEXT_H_
