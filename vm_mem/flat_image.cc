#include "vm_mem/flat_image.h"

#include <cstdint>
#include <utility>

#include "absl/status/status.h"
#include "vm_mem/internal/file_calls.h"
#include "vm_mem/internal/flat_regions.h"
#include "vm_mem/internal/without_exceptions.h"

namespace vm_mem {
namespace {

absl::StatusOr<std::vector<RegionId>> add_regions(MemoryManager& memory, const std::string& image,
                                                  std::span<const GuestRange> regions,
                                                  RamOptions options) {
  // One descriptor for all: the name may be another file's a moment later.
  const auto file = internal::open_flat_image(image, regions);
  if (!file.ok()) return file.status();
  options.backing = Backing::kFile;
  options.file.clear();
  options.fd = file->fd.get();
  options.file_offset = 0;
  options.sharing = FileSharing::kPrivate;
  std::vector<RegionId> ids;
  const absl::Status added = memory.change([&] {
    for (const GuestRange& range : regions) {
      const absl::StatusOr<RegionId> id = memory.add_ram(range, options);
      if (!id.ok()) return id.status();
      ids.push_back(*id);
      options.file_offset += range.bytes();
    }
    return absl::OkStatus();
  });
  if (!added.ok()) return added;
  return ids;
}

}  // namespace

absl::StatusOr<std::vector<RegionId>> map_flat_image(MemoryManager& memory,
                                                     const std::string& image,
                                                     std::span<const GuestRange> regions,
                                                     RamOptions options) {
  return internal::without_exceptions(
      [&] { return add_regions(memory, image, regions, std::move(options)); });
}

}  // namespace vm_mem
