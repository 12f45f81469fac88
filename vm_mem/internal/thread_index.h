// A small number of its own for each thread, by which striped state is spread.
#ifndef VM_MEM_INTERNAL_THREAD_INDEX_H_
#define VM_MEM_INTERNAL_THREAD_INDEX_H_

#include <cstddef>

namespace vm_mem::internal {

// Consecutive from 0 in the order of first calls; never reused.
std::size_t thread_index();

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_THREAD_INDEX_H_
