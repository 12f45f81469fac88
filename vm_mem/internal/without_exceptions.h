// Set-up allocates; that the host has no memory left is a result like any other.
#ifndef VM_MEM_INTERNAL_WITHOUT_EXCEPTIONS_H_
#define VM_MEM_INTERNAL_WITHOUT_EXCEPTIONS_H_

#include <new>

#include "absl/status/status.h"

namespace vm_mem::internal {

template <typename Call>
auto without_exceptions(Call call) -> decltype(call()) {
  try {
    return call();
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError("the host has no memory left: errno 12");
  }
}

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_WITHOUT_EXCEPTIONS_H_
