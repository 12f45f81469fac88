#include "vm_mem/internal/policy_rules.h"

#include <unistd.h>

#include <algorithm>
#include <limits>
#include <string>

#include "absl/strings/str_format.h"
#include "vm_mem/inline_copy.h"
#include "vm_mem/internal/host_instructions.h"

namespace vm_mem::internal {
namespace {

constexpr std::size_t kMinStream = 4096;

absl::Status refuse(const char* field, std::size_t value, const std::string& allowed) {
  return absl::InvalidArgumentError(
      absl::StrFormat("CopyPolicy::%s = %d: want %s", field, value, allowed));
}

// The smallest copy that gains from going past the caches. Twice the L2 cache: below
// it a copy is likely to be read again from there; at 64 KiB streaming costs twice
// the time, at 4 MiB it wins on the machines measured (docs/kernels.md).
std::size_t default_stream_min() {
  constexpr std::size_t kLeast = std::size_t{4} << 20;
  const long l2_bytes = sysconf(_SC_LEVEL2_CACHE_SIZE);
  return l2_bytes <= 0 ? kLeast : std::max(kLeast, 2 * static_cast<std::size_t>(l2_bytes));
}

}  // namespace

CopyPolicy default_policy(const CopyKernels& row) {
  return {.inline_max = 64,
          .vector_width = row.vector_width,
          .stream_min = default_stream_min(),
          .rep_movsb_min = std::numeric_limits<std::size_t>::max(),
          .rep_movsb_max = 0};
}

absl::Status validate_policy(const CopyPolicy& policy, const CopyKernels& row) {
  if (policy.inline_max > kInlineCeiling) {
    return refuse("inline_max", policy.inline_max, absl::StrFormat("at most %d", kInlineCeiling));
  }
  if (policy.vector_width != row.vector_width) {
    return refuse(
        "vector_width", policy.vector_width,
        absl::StrFormat("%d, the width of the row %s", row.vector_width, std::string(row.isa)));
  }
  if (policy.stream_min < kMinStream) {
    return refuse("stream_min", policy.stream_min, absl::StrFormat("at least %d", kMinStream));
  }
  if (policy.stream_min <= policy.inline_max) {
    return refuse("stream_min", policy.stream_min,
                  absl::StrFormat("more than inline_max, %d", policy.inline_max));
  }
  if (policy.rep_movsb_min <= policy.rep_movsb_max && !has_string_copy()) {
    return refuse("rep_movsb_min", policy.rep_movsb_min,
                  "more than rep_movsb_max: this CPU has no fast rep movsb");
  }
  return absl::OkStatus();
}

}  // namespace vm_mem::internal
