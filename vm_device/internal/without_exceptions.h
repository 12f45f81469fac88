// Lack of memory as a status.
#ifndef VM_DEVICE_INTERNAL_WITHOUT_EXCEPTIONS_H_
#define VM_DEVICE_INTERNAL_WITHOUT_EXCEPTIONS_H_

#include <array>
#include <new>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"

namespace vm_device::internal {

// kResourceExhausted. The text is put together on the stack: absl::StrFormat ends the process
// where the heap has nothing for it.
template <typename... Args>
absl::Status exhausted(const absl::FormatSpec<Args...>& format, const Args&... args) {
  std::array<char, 160> text;
  absl::SNPrintF(text.data(), text.size(), format, args...);
  return absl::ResourceExhaustedError(text.data());
}

// What `call` returns: a status, or one with a value. The message of a status takes memory
// as well: one that says that there is none may have none.
template <typename Call>
auto without_exceptions(Call call) -> decltype(call()) {
  try {
    return call();
  } catch (const std::bad_alloc&) {
    return absl::Status(absl::StatusCode::kResourceExhausted, "");
  }
}

}  // namespace vm_device::internal

#endif  // VM_DEVICE_INTERNAL_WITHOUT_EXCEPTIONS_H_
