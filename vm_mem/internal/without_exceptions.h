// Set-up allocates; that the host has no memory left is a result like any other.
#ifndef VM_MEM_INTERNAL_WITHOUT_EXCEPTIONS_H_
#define VM_MEM_INTERNAL_WITHOUT_EXCEPTIONS_H_

#include <new>

#include "absl/status/status.h"

namespace vm_mem::internal {

// Without its text where that takes memory, too.
inline absl::Status no_memory_left() noexcept {
  try {
    return absl::ResourceExhaustedError("the host has no memory left: errno 12");
  } catch (const std::bad_alloc&) {
    return absl::Status(absl::StatusCode::kResourceExhausted, {});
  }
}

template <typename Call>
auto without_exceptions(Call call) -> decltype(call()) {
  try {
    return call();
  } catch (const std::bad_alloc&) {
    return no_memory_left();
  }
}

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_WITHOUT_EXCEPTIONS_H_
