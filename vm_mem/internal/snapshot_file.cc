#include "vm_mem/internal/snapshot_file.h"

#include <algorithm>
#include <climits>
#include <cstring>
#include <new>
#include <string_view>
#include <utility>

#include "absl/strings/str_format.h"
#include "vm_mem/internal/crc32c.h"

namespace vm_mem::internal {

absl::StatusOr<std::unique_ptr<SnapshotFile>> SnapshotFile::open(const std::string& path,
                                                                 const ReadLimits& limits,
                                                                 FileCalls& calls) {
  std::uint64_t bytes = 0;
  absl::StatusOr<OpenFile> opened = open_to_read(path, bytes);
  if (!opened.ok()) return opened.status();
  std::unique_ptr<SnapshotFile> file(new SnapshotFile(*std::move(opened), bytes, limits, calls));
  try {
    if (absl::Status loaded = file->load(); !loaded.ok()) return loaded;
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError(absl::StrFormat("%s: no memory for its tables", path));
  }
  return file;
}

absl::StatusOr<SnapshotMark> SnapshotFile::mark_of(const std::string& path) {
  std::uint64_t bytes = 0;
  absl::StatusOr<OpenFile> opened = open_to_read(path, bytes);
  if (!opened.ok()) return opened.status();
  SnapshotFile file(*std::move(opened), bytes, {}, FileCalls::host());
  if (absl::Status read = file.read_ends(); !read.ok()) return read;
  return SnapshotMark{.id = file.superblock_.id, .seal = file.seal_};
}

SnapshotFile::SnapshotFile(OpenFile file, std::uint64_t bytes, const ReadLimits& limits,
                           FileCalls& calls)
    : file_(std::move(file)),
      bytes_(bytes),
      limits_(limits),
      table_bytes_left_(limits.table_bytes),
      calls_(calls) {}

absl::Status SnapshotFile::error(std::uint64_t offset, const absl::Status& reason) const {
  return file_error(file_.path, offset, reason);
}

absl::Status SnapshotFile::read_page(std::uint64_t offset, SnapshotPage& page) const {
  return read_exactly(calls_, file_, offset, page);
}

absl::Status SnapshotFile::load() {
  if (absl::Status ends = read_ends(); !ends.ok()) return ends;
  if (absl::Status read = read_table(); !read.ok()) return read;
  if (absl::Status checked = check_table(); !checked.ok()) return checked;
  for (const SectionEntry& entry : sections_) {
    if (absl::Status read = read_section(entry); !read.ok()) return read;
  }
  return absl::OkStatus();
}

absl::Status SnapshotFile::read_ends() {
  if (bytes_ < kSnapshotPageBytes) {
    return error(0, absl::InvalidArgumentError(
                        absl::StrFormat("this is no snapshot: it has 0x%x bytes", bytes_)));
  }
  SnapshotPage page;
  if (absl::Status read = read_page(0, page); !read.ok()) return read;
  absl::StatusOr<Superblock> superblock = decode_superblock(page);
  if (!superblock.ok()) return error(0, superblock.status());
  superblock_ = *std::move(superblock);
  superblock_checksum_ = seal_of(page);

  if (bytes_ < 2 * kSnapshotPageBytes || bytes_ % kSnapshotPageBytes != 0) {
    return error(bytes_, absl::DataLossError("the file is cut off here"));
  }
  const std::uint64_t last = bytes_ - kSnapshotPageBytes;
  if (absl::Status read = read_page(last, page); !read.ok()) return read;
  const absl::StatusOr<Footer> footer = decode_footer(page);
  if (!footer.ok()) return error(last, footer.status());
  footer_ = *footer;
  seal_ = seal_of(page);
  absl::Status checked = check_footer();
  return checked.ok() ? checked : error(last, checked);
}

absl::Status SnapshotFile::check_footer() const {
  if (footer_.file_bytes != bytes_) {
    return absl::DataLossError(absl::StrFormat("the file should have 0x%x bytes, and has 0x%x",
                                               footer_.file_bytes, bytes_));
  }
  if (footer_.id != superblock_.id || footer_.superblock_checksum != superblock_checksum_) {
    return absl::DataLossError("the footer is of another snapshot than the superblock");
  }
  if (footer_.section_count > kMaxSnapshotSections) {
    return absl::DataLossError(absl::StrFormat("0x%x sections", footer_.section_count));
  }
  const std::uint64_t table_bytes = paged(footer_.section_count * kSectionEntryBytes);
  if (footer_.table_offset != bytes_ - kSnapshotPageBytes - table_bytes ||
      table_bytes > bytes_ - 2 * kSnapshotPageBytes) {
    return absl::DataLossError(
        absl::StrFormat("the section table cannot be at 0x%x", footer_.table_offset));
  }
  // Each is of one guest page, which there are less of than 2^32.
  if (footer_.data_pages > superblock_.guest_pages ||
      stored_pages() > bytes_ / kSnapshotPageBytes ||
      offset_of(stored_pages()) > footer_.table_offset ||
      footer_.data_pages > stored_pages() * (has_frames() ? kFramePages : 1)) {
    return absl::DataLossError(absl::StrFormat("0x%x data pages in 0x%x, of 0x%x guest pages",
                                               footer_.data_pages, stored_pages(),
                                               superblock_.guest_pages));
  }
  return absl::OkStatus();
}

absl::Status SnapshotFile::read_blocks(const SectionEntry& entry, const VisitBlock& visit) const {
  std::vector<std::byte> buffer(std::size_t{256} << 10);
  std::uint32_t checksum = 0;
  for (std::uint64_t done = 0; done < entry.bytes;) {
    const std::uint64_t left = entry.bytes - done;
    const std::span<std::byte> now =
        std::span(buffer).first(std::min<std::uint64_t>(paged(left), buffer.size()));
    if (absl::Status read = read_exactly(calls_, file_, entry.offset + done, now); !read.ok()) {
      return read;
    }
    checksum = crc32c(now, checksum);
    const auto used = static_cast<std::size_t>(std::min<std::uint64_t>(left, now.size()));
    if (absl::Status visited = visit(entry.offset + done, now.first(used)); !visited.ok()) {
      return visited;
    }
    done += now.size();
  }
  if (checksum != entry.checksum) {
    return error(entry.offset, absl::DataLossError("the section does not match its checksum"));
  }
  return absl::OkStatus();
}

template <typename Visit>
absl::Status SnapshotFile::read_records(const SectionEntry& entry, std::size_t bytes_each,
                                        Visit visit) const {
  return read_blocks(entry, [&](std::uint64_t at, std::span<const std::byte> block) {
    for (std::size_t done = 0; done < block.size(); done += bytes_each) {
      const absl::Status visited = visit(block.subspan(done, bytes_each));
      if (!visited.ok()) return error(at + done, visited);
    }
    return absl::OkStatus();
  });
}

absl::Status SnapshotFile::read_table() {
  SectionEntry table;
  table.offset = footer_.table_offset;
  table.bytes = footer_.section_count * kSectionEntryBytes;
  table.checksum = footer_.table_checksum;
  return read_records(table, kSectionEntryBytes, [&](std::span<const std::byte> from) {
    absl::StatusOr<SectionEntry> entry = decode_section(from);
    if (entry.ok()) sections_.push_back(*std::move(entry));
    return entry.status();
  });
}

// 0 where a section may be in any place.
int core_order(SectionKind kind) {
  switch (kind) {
    case SectionKind::kRegions: return 1;
    case SectionKind::kPageMap: return 2;
    case SectionKind::kPageChecksums: return 3;
    case SectionKind::kFrames: return 4;
    default: return 0;
  }
}

// One section follows the other without a gap, so that every byte of the file has a checksum.
absl::Status SnapshotFile::check_table() {
  std::uint64_t at = offset_of(stored_pages());
  int found = 0;
  for (const SectionEntry& entry : sections_) {
    if (entry.offset != at || entry.bytes > footer_.table_offset - at) {
      return error(footer_.table_offset, absl::DataLossError(absl::StrFormat(
                                             "a section of 0x%x bytes at 0x%x, where 0x%x "
                                             "is free",
                                             entry.bytes, entry.offset, at)));
    }
    at += paged(entry.bytes);
    // In this order, each once: what one is held to stands in those before.
    if (const int core = core_order(entry.kind); core != 0 && core != ++found) {
      return error(footer_.table_offset,
                   absl::DataLossError("regions, page map, checksums and frames are not in order"));
    }
  }
  if (at != footer_.table_offset || found != (has_frames() ? 4 : 3)) {
    return error(footer_.table_offset,
                 absl::DataLossError("a section is missing, or there is a gap before the table"));
  }
  return check_names();
}

absl::Status SnapshotFile::check_names() const {
  std::vector<std::string_view> names;
  for (const SectionEntry& entry : sections_) {
    if (entry.kind == SectionKind::kDeviceState) names.push_back(entry.name);
  }
  std::ranges::sort(names);
  const bool unique = std::ranges::adjacent_find(names) == names.end();
  if (unique && (names.empty() || !names.front().empty())) return absl::OkStatus();
  return error(footer_.table_offset,
               absl::DataLossError("a device state without a name of its own"));
}

absl::Status SnapshotFile::read_section(const SectionEntry& entry) {
  switch (entry.kind) {
    case SectionKind::kRegions: return read_regions(entry);
    case SectionKind::kPageMap: return read_page_map(entry);
    case SectionKind::kPageChecksums: return read_checksums(entry);
    case SectionKind::kWorkingSet: return read_working_set(entry);
    case SectionKind::kFrames: return read_frames(entry);
    case SectionKind::kDeviceState:
      states_.push_back({.id = entry.name, .version = entry.version});
      return absl::OkStatus();
  }
  if ((entry.flags & kSectionRequired) == 0) return absl::OkStatus();
  return error(entry.offset,
               absl::UnimplementedError(absl::StrFormat(
                   "a section of kind %u, which this program does not know and would need",
                   static_cast<std::uint32_t>(entry.kind))));
}

absl::Status SnapshotFile::too_large(const SectionEntry& entry, std::uint64_t bytes,
                                     std::uint64_t most) const {
  return error(
      entry.offset,
      absl::ResourceExhaustedError(absl::StrFormat(
          "a section that takes 0x%x bytes of memory, where 0x%x are permitted", bytes, most)));
}

absl::Status SnapshotFile::charge(const SectionEntry& entry, std::uint64_t bytes) {
  if (bytes > table_bytes_left_) return too_large(entry, bytes, table_bytes_left_);
  table_bytes_left_ -= bytes;
  return absl::OkStatus();
}

absl::StatusOr<std::uint64_t> SnapshotFile::count_of(const SectionEntry& entry,
                                                     std::size_t bytes_each, std::uint64_t most) {
  const std::uint64_t count = entry.bytes / bytes_each;
  if (entry.bytes % bytes_each != 0 || count > most) {
    return error(entry.offset, absl::DataLossError(absl::StrFormat(
                                   "0x%x bytes are no table of at most 0x%x entries of 0x%x",
                                   entry.bytes, most, bytes_each)));
  }
  if (absl::Status permitted = charge(entry, entry.bytes); !permitted.ok()) return permitted;
  return count;
}

absl::Status SnapshotFile::read_regions(const SectionEntry& entry) {
  const auto count = count_of(entry, kRegionEntryBytes, kMaxSnapshotRegions);
  if (!count.ok()) return count.status();
  std::uint64_t end = 0;
  std::uint64_t pages = 0;
  const absl::Status read =
      read_records(entry, kRegionEntryBytes, [&](std::span<const std::byte> from) {
        const RegionEntry region = decode_region(from);
        if (region.bytes == 0 || (region.begin | region.bytes) % kSnapshotPageBytes != 0 ||
            region.bytes > UINT64_MAX - region.begin) {
          return absl::DataLossError(
              absl::StrFormat("a region of 0x%x bytes at 0x%x", region.bytes, region.begin));
        }
        if (region.begin < end || region.first_page != pages || region.kind != 1) {
          return absl::DataLossError(
              absl::StrFormat("the region at 0x%x overlaps the one before, or has other pages "
                              "than come next, or is of an unknown kind",
                              region.begin));
        }
        end = region.begin + region.bytes;
        pages += region.bytes / kSnapshotPageBytes;
        if (pages > superblock_.guest_pages) {
          return absl::DataLossError("the regions have more pages than the superblock says");
        }
        regions_.push_back(region);
        return absl::OkStatus();
      });
  if (!read.ok()) return read;
  if (pages == superblock_.guest_pages) return absl::OkStatus();
  return error(entry.offset,
               absl::DataLossError("the regions have fewer pages than the superblock says"));
}

absl::Status SnapshotFile::add_extent(const Extent& extent, std::vector<bool>& taken) {
  const std::uint64_t before = extents_.empty() ? 0 : extents_.back().end();
  if (extent.count == 0 || extent.first < before || extent.end() > superblock_.guest_pages) {
    return absl::DataLossError(absl::StrFormat(
        "an extent of 0x%x pages at page 0x%x: extents are sorted, and of pages from 0x%x to 0x%x",
        extent.count, extent.first, before, superblock_.guest_pages));
  }
  if (extent.kind == ExtentKind::kData &&
      (extent.slot > footer_.data_pages || extent.count > footer_.data_pages - extent.slot)) {
    return absl::DataLossError(
        absl::StrFormat("an extent of 0x%x data pages from 0x%x, of which there are 0x%x",
                        extent.count, extent.slot, footer_.data_pages));
  }
  for (std::uint64_t i = 0; extent.kind == ExtentKind::kData && i < extent.count; ++i) {
    if (taken[extent.slot + i]) {
      return absl::DataLossError(
          absl::StrFormat("data page 0x%x is of two guest pages", extent.slot + i));
    }
    taken[extent.slot + i] = true;
  }
  extents_.push_back(extent);
  return absl::OkStatus();
}

absl::Status SnapshotFile::read_page_map(const SectionEntry& entry) {
  const auto count = count_of(entry, kExtentBytes, superblock_.guest_pages);
  if (!count.ok()) return count.status();
  // What they take more here than there, and a bit for each data page.
  const std::uint64_t more =
      *count * (sizeof(Extent) - kExtentBytes) + footer_.data_pages / CHAR_BIT;
  if (absl::Status permitted = charge(entry, more); !permitted.ok()) return permitted;
  extents_.reserve(*count);
  std::vector<bool> taken(footer_.data_pages);
  const absl::Status read = read_records(entry, kExtentBytes, [&](std::span<const std::byte> from) {
    const absl::StatusOr<Extent> extent = decode_extent(from);
    return extent.ok() ? add_extent(*extent, taken) : extent.status();
  });
  if (!read.ok()) return read;
  const auto unused = std::ranges::find(taken, false);
  if (unused == taken.end()) return absl::OkStatus();
  return error(entry.offset, absl::DataLossError(absl::StrFormat(
                                 "data page 0x%x is of no guest page", unused - taken.begin())));
}

absl::Status SnapshotFile::read_checksums(const SectionEntry& entry) {
  const auto count = count_of(entry, sizeof(std::uint32_t), footer_.data_pages);
  if (!count.ok()) return count.status();
  if (*count != footer_.data_pages) {
    return error(entry.offset,
                 absl::DataLossError(absl::StrFormat("0x%x checksums of 0x%x data pages", *count,
                                                     footer_.data_pages)));
  }
  checksums_.reserve(*count);
  return read_records(entry, sizeof(std::uint32_t), [&](std::span<const std::byte> from) {
    std::uint32_t checksum = 0;
    std::memcpy(&checksum, from.data(), sizeof checksum);
    checksums_.push_back(checksum);
    return absl::OkStatus();
  });
}

absl::Status SnapshotFile::read_working_set(const SectionEntry& entry) {
  const auto count = count_of(entry, kPageRunBytes, superblock_.guest_pages);
  if (!count.ok()) return count.status();
  std::uint64_t pages_left = superblock_.guest_pages;
  for (const PageRun& run : working_set_) pages_left -= run.count;
  const std::uint64_t before = pages_left;
  const absl::Status read =
      read_records(entry, kPageRunBytes, [&](std::span<const std::byte> from) {
        const PageRun run = decode_page_run(from);
        if (run.count == 0 || run.count > pages_left || run.first >= superblock_.guest_pages ||
            run.count > superblock_.guest_pages - run.first) {
          return absl::DataLossError(
              absl::StrFormat("a working set with 0x%x pages at page 0x%x", run.count, run.first));
        }
        pages_left -= run.count;
        working_set_.push_back(run);
        return absl::OkStatus();
      });
  // Snapshot::working_set() names them one by one.
  return read.ok() ? charge(entry, (before - pages_left) * sizeof(GuestAddress)) : read;
}

absl::Status SnapshotFile::read_frames(const SectionEntry& entry) {
  const std::uint64_t frames = (footer_.data_pages + (kFramePages - 1)) / kFramePages;
  const auto count = count_of(entry, kFrameEntryBytes, frames);
  if (!count.ok()) return count.status();
  const std::uint64_t more = *count * (sizeof(FrameEntry) - kFrameEntryBytes);
  if (absl::Status permitted = charge(entry, more); !permitted.ok()) return permitted;
  frames_.reserve(*count);
  std::uint64_t page = 0;
  const absl::Status read =
      read_records(entry, kFrameEntryBytes, [&](std::span<const std::byte> from) {
        absl::StatusOr<FrameEntry> frame = decode_frame(from);
        if (!frame.ok()) return frame.status();
        frame->page = page;
        if (absl::Status checked = check_frame(*frame); !checked.ok()) return checked;
        page = frame->end_page();
        frames_.push_back(*frame);
        return absl::OkStatus();
      });
  if (!read.ok()) return read;
  if (*count == frames && page == footer_.frame_pages) return absl::OkStatus();
  return error(entry.offset, absl::DataLossError(absl::StrFormat(
                                 "0x%x frames of 0x%x pages, where 0x%x data pages are in 0x%x",
                                 *count, page, footer_.data_pages, footer_.frame_pages)));
}

}  // namespace vm_mem::internal
