// Where a recoverable row meets a fault: a declaration alone, for code that is compiled for
// one instruction set.
#ifndef VM_MEM_INTERNAL_RECOVERABLE_FINISH_H_
#define VM_MEM_INTERNAL_RECOVERABLE_FINISH_H_

#include <cstddef>

namespace vm_mem::internal {

// Does what can be done of n bytes, the first `done` of which are: returns how many that
// are, exactly. Should the host provide after all what it did not, all the rest.
//
// Needs:  as RecoverableKernels.
// Cost:   a word at a time.
[[gnu::cold]] std::size_t finish_copy_words(std::byte* dst, const std::byte* src, std::size_t n,
                                            std::size_t done);
[[gnu::cold]] std::size_t finish_set_words(std::byte* dst, std::byte value, std::size_t n,
                                           std::size_t done);

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_RECOVERABLE_FINISH_H_
