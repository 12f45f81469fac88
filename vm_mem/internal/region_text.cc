#include "vm_mem/internal/region_text.h"

#include "absl/strings/str_format.h"

namespace vm_mem::internal {

std::string text_of(GuestRange range) {
  return absl::StrFormat("[0x%x, 0x%x)", range.begin().value, range.end().value);
}

absl::Status no_such_region(RegionId id) {
  return absl::NotFoundError(absl::StrFormat("no region 0x%x", number_of(id)));
}

absl::Status check_shape(GuestRange range) {
  if (range.empty()) {
    return absl::InvalidArgumentError(absl::StrFormat("empty range at 0x%x", range.begin().value));
  }
  if ((range.begin().value | range.bytes()) % kRegionAlignment != 0) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "range %s does not begin and end at multiples of 0x%x", text_of(range), kRegionAlignment));
  }
  return absl::OkStatus();
}

}  // namespace vm_mem::internal
