#include "vm_engine/internal/arena_reason.h"

#include <new>

#include "absl/strings/str_format.h"

namespace vm_engine::internal {

std::string ArenaReason::text() const {
  const auto [a, b, c] = numbers;
  switch (kind) {
    case Kind::kNone: break;
    case Kind::kNoDescriptor:
      return absl::StrFormat("region 0x%x is RAM without a descriptor: it has one view alone", a);
    case Kind::kMisaligned:
      return absl::StrFormat("region 0x%x has pages of 0x%x bytes and is shown at 0x%x", a, b, c);
    case Kind::kTooManyMappings:
      return absl::StrFormat("the map takes more than 0x%x mappings of the host", a);
    case Kind::kTooManyProtected:
      return absl::StrFormat("protected pages take more than 0x%x mappings of the host", a);
    case Kind::kNotMapped: return absl::StrFormat("mmap of 0x%x bytes failed: errno %d", a, b);
    case Kind::kNotChanged:
      return absl::StrFormat("the host refuses to change a mapping: errno %d", a);
    case Kind::kNoMemory: return "no host memory to follow the map";
  }
  return {};
}

absl::Status exhausted(const char* words) noexcept try {
  return absl::ResourceExhaustedError(words);
} catch (const std::bad_alloc&) {
  return absl::Status(absl::StatusCode::kResourceExhausted, {});
}

}  // namespace vm_engine::internal
