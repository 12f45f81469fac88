// Which memory of this process is restored lazily, for the handler of SIGBUS.
#ifndef VM_MEM_INTERNAL_LAZY_SIGNALS_H_
#define VM_MEM_INTERNAL_LAZY_SIGNALS_H_

#include <cstddef>
#include <span>

#include "absl/status/status.h"

namespace vm_mem::internal {

class LazyPages;

inline constexpr std::size_t kMostLazyRanges = 1024;

// From here on touches of absent pages of `memory` are passed to `pages`.
//
// Errors:  kResourceExhausted  kMostLazyRanges are in use
absl::Status add_lazy_range(std::span<std::byte> memory, LazyPages* pages);
// No thread is in a fault of it any more when it returns. A fault that was raised before and
// that no handler has seen yet is tried again, where the memory can be read by now.
void remove_lazy_range(std::span<std::byte> memory, const LazyPages* pages);

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_LAZY_SIGNALS_H_
