// What the library's own results are in the C interface.
#ifndef VM_ENGINE_INTERNAL_C_RESULTS_H_
#define VM_ENGINE_INTERNAL_C_RESULTS_H_

#include <cstdint>
#include <new>
#include <string_view>

#include "absl/status/status.h"
#include "vm_engine/vm_engine.h"

namespace vm_engine::internal {

vme_rc as_rc(const absl::Status& status);

// As snprintf: cut to `bytes` with a 0 at the end; returns the length of all of `words`.
std::uint64_t put_words(std::string_view words, char* text, std::uint64_t bytes);

// No memory is a result, too.
template <typename Call>
vme_rc rc_of_call(Call call) try {
  return call();
} catch (const std::bad_alloc&) {
  return VME_ENOMEM;
}

}  // namespace vm_engine::internal

#endif  // VM_ENGINE_INTERNAL_C_RESULTS_H_
