// What a snapshot file that was opened says when it is asked.
#include <algorithm>
#include <new>
#include <vector>

#include "absl/strings/str_format.h"
#include "vm_mem/internal/crc32c.h"
#include "vm_mem/internal/frame_coder.h"
#include "vm_mem/internal/snapshot_file.h"

namespace vm_mem::internal {

absl::Status SnapshotFile::verify_sections() const {
  for (const SectionEntry& entry : sections_) {
    const absl::Status read = read_blocks(
        entry, [](std::uint64_t, std::span<const std::byte>) { return absl::OkStatus(); });
    if (!read.ok()) return read;
  }
  return absl::OkStatus();
}

absl::StatusOr<DeviceState> SnapshotFile::read_state(const std::string& id) const {
  for (const SectionEntry& entry : sections_) {
    if (entry.kind != SectionKind::kDeviceState || entry.name != id) continue;
    if (entry.bytes > limits_.table_bytes) {
      return too_large(entry, entry.bytes, limits_.table_bytes);
    }
    DeviceState state{.id = id, .version = entry.version};
    try {
      const absl::Status read =
          read_blocks(entry, [&](std::uint64_t, std::span<const std::byte> block) {
            state.bytes.insert(state.bytes.end(), block.begin(), block.end());
            return absl::OkStatus();
          });
      if (!read.ok()) return read;
    } catch (const std::bad_alloc&) {
      return absl::ResourceExhaustedError(
          absl::StrFormat("%s: no memory for the state \"%s\"", file_.path, id));
    }
    return state;
  }
  return absl::NotFoundError(absl::StrFormat("%s: there is no state \"%s\"", file_.path, id));
}

GuestAddress SnapshotFile::address_of(std::uint64_t page) const {
  const auto after = std::ranges::upper_bound(regions_, page, {}, &RegionEntry::first_page);
  const RegionEntry& region = *std::prev(after);
  return GuestAddress{region.begin + (page - region.first_page) * kSnapshotPageBytes};
}

std::vector<DataRun> SnapshotFile::data_runs(std::uint32_t file) const {
  std::vector<DataRun> runs;
  for (const Extent& extent : extents_) {
    if (extent.kind != ExtentKind::kData) continue;
    runs.push_back(
        {.file = file, .first = extent.first, .count = extent.count, .slot = extent.slot});
  }
  return runs;
}

bool SnapshotFile::matches(std::uint64_t slot, std::span<const std::byte> page) const {
  return crc32c(page) == checksums_[slot];
}

// `frame` is the one after those that were read.
absl::Status SnapshotFile::check_frame(const FrameEntry& frame) const {
  const std::uint64_t pages =
      std::min(kFramePages, footer_.data_pages - frames_.size() * kFramePages);
  const std::uint64_t bytes = pages * kSnapshotPageBytes;
  const bool fits = frame.codec == FrameCodec::kPlain
                        ? frame.bytes == bytes
                        : frame.bytes != 0 && frame.bytes < bytes && paged(frame.bytes) < bytes;
  if (!fits || frame.end_page() > footer_.frame_pages) {
    return absl::DataLossError(
        absl::StrFormat("a frame of 0x%x bytes for 0x%x pages, where 0x%x pages are left",
                        frame.bytes, pages, footer_.frame_pages - frame.page));
  }
  if (frame.codec == FrameCodec::kPlain) return absl::OkStatus();
  return make_frame_coder(frame.codec).status();
}

SnapshotInfo SnapshotFile::info() const {
  SnapshotInfo info{.id = superblock_.id,
                    .parent = superblock_.parent,
                    .parent_name = superblock_.parent_name,
                    .depth = superblock_.depth,
                    .created = superblock_.created,
                    .guest_pages = superblock_.guest_pages,
                    .data_pages = footer_.data_pages,
                    .extents = extents_.size(),
                    .stored_pages = stored_pages(),
                    .file_bytes = bytes_,
                    .format_major = superblock_.major,
                    .format_minor = superblock_.minor,
                    .features = {.incompatible = superblock_.incompatible,
                                 .read_only_compatible = superblock_.read_only_compatible,
                                 .compatible = superblock_.compatible}};
  for (const RegionEntry& region : regions_) {
    info.regions.push_back(*GuestRange::make(GuestAddress{region.begin}, region.bytes));
  }
  for (const Extent& extent : extents_) {
    if (extent.kind == ExtentKind::kZero) info.zero_pages += extent.count;
  }
  for (const PageRun& run : working_set_) info.working_set_pages += run.count;
  for (const SectionEntry& entry : sections_) {
    if (entry.kind != SectionKind::kDeviceState) continue;
    info.states.push_back({.id = entry.name, .version = entry.version, .bytes = entry.bytes});
  }
  return info;
}

}  // namespace vm_mem::internal
