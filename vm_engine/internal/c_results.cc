#include "vm_engine/internal/c_results.h"

#include <algorithm>
#include <cstring>

namespace vm_engine::internal {

vme_rc as_rc(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk: return VME_OK;
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kNotFound:
    case absl::StatusCode::kOutOfRange: return VME_EINVAL;
    case absl::StatusCode::kAlreadyExists:
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDeadlineExceeded: return VME_EBUSY;
    case absl::StatusCode::kUnimplemented: return VME_ENOTSUP;
    default: return VME_ENOMEM;
  }
}

std::uint64_t put_words(std::string_view words, char* text, std::uint64_t bytes) {
  if (text != nullptr && bytes != 0) {
    const std::size_t n = std::min<std::uint64_t>(words.size(), bytes - 1);
    if (n != 0) std::memcpy(text, words.data(), n);
    text[n] = '\0';
  }
  return words.size();
}

}  // namespace vm_engine::internal
