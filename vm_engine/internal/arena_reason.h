// Why an arena does not show everything. Noting it allocates nothing, so that it can be
// done where there is no memory; the words come later.
#ifndef VM_ENGINE_INTERNAL_ARENA_REASON_H_
#define VM_ENGINE_INTERNAL_ARENA_REASON_H_

#include <array>
#include <cstdint>
#include <string>

#include "absl/status/status.h"

namespace vm_engine::internal {

struct ArenaReason {
  enum class Kind : std::uint8_t {
    kNone,
    kNoDescriptor,      // {region}
    kMisaligned,        // {region, bytes of its pages, place in the arena}
    kTooManyMappings,   // {most}
    kTooManyProtected,  // {most}
    kNotMapped,         // {bytes, errno}
    kNotChanged,        // {errno}
    kNoMemory,          // {}
  };

  Kind kind = Kind::kNone;
  std::array<std::uint64_t, 3> numbers{};

  // Empty for kNone.
  // Errors:  std::bad_alloc.
  std::string text() const;
};

// kResourceExhausted, without the words where there is no memory for them either.
absl::Status exhausted(const char* words) noexcept;

}  // namespace vm_engine::internal

#endif  // VM_ENGINE_INTERNAL_ARENA_REASON_H_
