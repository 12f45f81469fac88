#include "vm_mem/internal/flat_regions.h"

#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"

namespace vm_mem::internal {

absl::StatusOr<std::vector<RegionEntry>> flat_regions(std::span<const GuestRange> regions) {
  std::vector<RegionEntry> entries;
  for (const GuestRange& range : regions) {
    if (range.empty() || (range.begin().value | range.bytes()) % kSnapshotPageBytes != 0) {
      return absl::InvalidArgumentError(
          absl::StrFormat("a region of 0x%x bytes at 0x%x is none of whole pages", range.bytes(),
                          range.begin().value));
    }
    entries.push_back({.begin = range.begin().value, .bytes = range.bytes()});
  }
  if (absl::Status numbered = number_pages(entries); !numbered.ok()) return numbered;
  return entries;
}

absl::StatusOr<OpenFile> open_flat_image(const std::string& image,
                                         std::span<const GuestRange> regions) {
  const absl::StatusOr<std::vector<RegionEntry>> entries = flat_regions(regions);
  if (!entries.ok()) return entries.status();
  const std::uint64_t bytes = page_count_of(*entries) * kSnapshotPageBytes;
  std::uint64_t has = 0;
  absl::StatusOr<OpenFile> file = open_to_read(image, has);
  if (!file.ok()) return file.status();
  if (has != bytes) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%s: it has 0x%x bytes, where the regions have 0x%x", image, has, bytes));
  }
  return file;
}

}  // namespace vm_mem::internal
