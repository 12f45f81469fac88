#include "vm_mem/internal/snapshot_format.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "absl/strings/str_format.h"
#include "vm_mem/internal/crc32c.h"

namespace vm_mem::internal {
namespace {

static_assert(std::endian::native == std::endian::little);

// The first byte is none of ASCII, and the line ends are lost in a transfer as text.
constexpr std::string_view kMagic = "\x89VMSNP\r\n";
constexpr std::string_view kFooterMagic = "\x89VMEND\r\n";
constexpr std::uint32_t kPageShift = 12;
constexpr std::uint32_t kChecksumCrc32c = 1;
constexpr std::size_t kSeal = kSnapshotPageBytes - 4;

// Where the fields are: docs/snapshot_format.md.
namespace superblock_at {
constexpr std::size_t kMajor = 8, kMinor = 10, kShift = 12, kIncompatible = 16, kReadOnly = 24,
                      kCompatible = 32, kId = 40, kParent = 56, kParentSeal = 72, kDepth = 76,
                      kGuestPages = 80, kChecksum = 88, kNameBytes = 92, kCreated = 96, kName = 128;
}
namespace footer_at {
constexpr std::size_t kId = 8, kFileBytes = 24, kDataPages = 32, kTableOffset = 40, kCount = 48,
                      kTableChecksum = 52, kSuperblockChecksum = 56;
}
namespace section_at {
constexpr std::size_t kKind = 0, kVersion = 4, kFlags = 8, kChecksum = 12, kOffset = 16,
                      kBytes = 24, kNameBytes = 32, kName = 40;
}

template <typename T>
void put(std::span<std::byte> to, std::size_t at, T value) {
  std::memcpy(to.subspan(at, sizeof value).data(), &value, sizeof value);
}

template <typename T>
T get(std::span<const std::byte> from, std::size_t at) {
  T value;
  std::memcpy(&value, from.subspan(at, sizeof value).data(), sizeof value);
  return value;
}

void put_text(std::span<std::byte> to, std::size_t at, std::string_view text) {
  std::ranges::copy(std::as_bytes(std::span(text)), to.subspan(at, text.size()).begin());
}

std::string get_text(std::span<const std::byte> from, std::size_t at, std::size_t bytes) {
  return {reinterpret_cast<const char*>(from.subspan(at, bytes).data()), bytes};
}

void seal(SnapshotPage& page) { put(page, kSeal, crc32c(std::span(page).first(kSeal))); }

bool is_sealed(const SnapshotPage& page) {
  return crc32c(std::span(page).first(kSeal)) == seal_of(page);
}

absl::Status check_readable(const Superblock& block, const SnapshotPage& page) {
  if (const std::uint64_t unknown = block.incompatible & ~kKnownIncompatible; unknown != 0) {
    return absl::UnimplementedError(
        absl::StrFormat("the snapshot has features 0x%x that this program does not know", unknown));
  }
  if (const auto shift = get<std::uint32_t>(page, superblock_at::kShift); shift != kPageShift) {
    return absl::UnimplementedError(absl::StrFormat(
        "the snapshot has pages of 2^%u bytes; this program reads 2^%u", shift, kPageShift));
  }
  const auto checksum = get<std::uint32_t>(page, superblock_at::kChecksum);
  if (checksum != kChecksumCrc32c) {
    return absl::UnimplementedError(absl::StrFormat("checksums of unknown kind %u", checksum));
  }
  return absl::OkStatus();
}

}  // namespace

std::uint32_t seal_of(const SnapshotPage& page) { return get<std::uint32_t>(page, kSeal); }

bool is_plain_name(std::string_view name) {
  return !name.empty() && name.size() <= kMaxParentName && name != "." && name != ".." &&
         name.find_first_of(std::string_view("/\0", 2)) == name.npos;
}

absl::Status number_pages(std::span<RegionEntry> regions) {
  std::uint64_t pages = 0;
  std::uint64_t end = 0;
  for (RegionEntry& region : regions) {
    if (region.begin < end) {
      return absl::InvalidArgumentError(
          absl::StrFormat("two regions overlap at 0x%x: a snapshot tells regions by where they "
                          "are; save those that are to be seen there",
                          region.begin));
    }
    region.first_page = static_cast<std::uint32_t>(pages);
    end = region.begin + region.bytes;
    pages += region.bytes / kSnapshotPageBytes;
    if (pages > kMaxSnapshotPages - 1 || regions.size() > kMaxSnapshotRegions) {
      return absl::InvalidArgumentError(absl::StrFormat(
          "0x%x regions, or more than 0x%x pages of memory: a snapshot holds 0x%x and 0x%x",
          regions.size(), pages, kMaxSnapshotRegions, kMaxSnapshotPages - 1));
    }
  }
  return absl::OkStatus();
}

SnapshotPage encode(const Superblock& superblock) {
  using namespace superblock_at;
  SnapshotPage page{};
  put_text(page, 0, kMagic);
  put(page, kMajor, superblock.major);
  put(page, kMinor, superblock.minor);
  put(page, kShift, kPageShift);
  put(page, kIncompatible, superblock.incompatible);
  put(page, kReadOnly, superblock.read_only_compatible);
  put(page, kCompatible, superblock.compatible);
  put(page, kId, superblock.id);
  put(page, kParent, superblock.parent);
  put(page, kParentSeal, superblock.parent_seal);
  put(page, kDepth, superblock.depth);
  put(page, kGuestPages, superblock.guest_pages);
  put(page, kChecksum, kChecksumCrc32c);
  put(page, kNameBytes, static_cast<std::uint32_t>(superblock.parent_name.size()));
  put(page, kCreated, superblock.created);
  put_text(page, kName, superblock.parent_name);
  seal(page);
  return page;
}

SnapshotPage encode(const Footer& footer) {
  using namespace footer_at;
  SnapshotPage page{};
  put_text(page, 0, kFooterMagic);
  put(page, kId, footer.id);
  put(page, kFileBytes, footer.file_bytes);
  put(page, kDataPages, footer.data_pages);
  put(page, kTableOffset, footer.table_offset);
  put(page, kCount, footer.section_count);
  put(page, kTableChecksum, footer.table_checksum);
  put(page, kSuperblockChecksum, footer.superblock_checksum);
  seal(page);
  return page;
}

// The version comes before the checksum: a later one may have another.
absl::StatusOr<Superblock> decode_superblock(const SnapshotPage& page) {
  using namespace superblock_at;
  if (get_text(page, 0, kMagic.size()) != kMagic) {
    return absl::InvalidArgumentError("this is no snapshot: it begins with other bytes");
  }
  const Superblock numbers{.major = get<std::uint16_t>(page, kMajor),
                           .minor = get<std::uint16_t>(page, kMinor),
                           .incompatible = get<std::uint64_t>(page, kIncompatible),
                           .read_only_compatible = get<std::uint64_t>(page, kReadOnly),
                           .compatible = get<std::uint64_t>(page, kCompatible),
                           .id = get<SnapshotId>(page, kId),
                           .parent = get<SnapshotId>(page, kParent),
                           .parent_seal = get<std::uint32_t>(page, kParentSeal),
                           .depth = get<std::uint32_t>(page, kDepth),
                           .guest_pages = get<std::uint64_t>(page, kGuestPages),
                           .created = get<std::int64_t>(page, kCreated),
                           .parent_name = {}};
  if (numbers.major != kSnapshotMajor) {
    return absl::UnimplementedError(
        absl::StrFormat("a snapshot of format %u.%u; this program reads %u", numbers.major,
                        numbers.minor, kSnapshotMajor));
  }
  if (!is_sealed(page)) return absl::DataLossError("the superblock does not match its checksum");
  if (absl::Status readable = check_readable(numbers, page); !readable.ok()) return readable;
  const auto name_bytes = get<std::uint32_t>(page, kNameBytes);
  if (name_bytes > kMaxParentName) {
    return absl::DataLossError(absl::StrFormat("the parent's name has %u bytes", name_bytes));
  }
  Superblock block = numbers;
  block.parent_name = get_text(page, kName, name_bytes);
  if (block.guest_pages > kMaxSnapshotPages) {
    return absl::DataLossError(absl::StrFormat("0x%x guest pages", block.guest_pages));
  }
  if (block.parent.is_zero() != (block.depth == 0)) {
    return absl::DataLossError(
        absl::StrFormat("a chain of %u parents, which contradicts the parent", block.depth));
  }
  return block;
}

absl::StatusOr<Footer> decode_footer(const SnapshotPage& page) {
  using namespace footer_at;
  if (get_text(page, 0, kFooterMagic.size()) != kFooterMagic) {
    return absl::DataLossError(
        "the footer is missing: the file is cut off, or was never completed");
  }
  if (!is_sealed(page)) return absl::DataLossError("the footer does not match its checksum");
  return Footer{.id = get<SnapshotId>(page, kId),
                .file_bytes = get<std::uint64_t>(page, kFileBytes),
                .data_pages = get<std::uint64_t>(page, kDataPages),
                .table_offset = get<std::uint64_t>(page, kTableOffset),
                .section_count = get<std::uint32_t>(page, kCount),
                .table_checksum = get<std::uint32_t>(page, kTableChecksum),
                .superblock_checksum = get<std::uint32_t>(page, kSuperblockChecksum)};
}

void encode(const SectionEntry& entry, std::span<std::byte> to) {
  using namespace section_at;
  std::ranges::fill(to, std::byte{0});
  put(to, kKind, entry.kind);
  put(to, kVersion, entry.version);
  put(to, kFlags, entry.flags);
  put(to, kChecksum, entry.checksum);
  put(to, kOffset, entry.offset);
  put(to, kBytes, entry.bytes);
  put(to, kNameBytes, static_cast<std::uint32_t>(entry.name.size()));
  put_text(to, kName, entry.name);
}

absl::StatusOr<SectionEntry> decode_section(std::span<const std::byte> from) {
  using namespace section_at;
  const auto name_bytes = get<std::uint32_t>(from, kNameBytes);
  if (name_bytes > kMaxSectionName) {
    return absl::DataLossError(absl::StrFormat("a section's name has %u bytes", name_bytes));
  }
  return SectionEntry{.kind = get<SectionKind>(from, kKind),
                      .version = get<std::uint32_t>(from, kVersion),
                      .flags = get<std::uint32_t>(from, kFlags),
                      .checksum = get<std::uint32_t>(from, kChecksum),
                      .offset = get<std::uint64_t>(from, kOffset),
                      .bytes = get<std::uint64_t>(from, kBytes),
                      .name = get_text(from, kName, name_bytes)};
}

void encode(const RegionEntry& entry, std::span<std::byte> to) {
  put(to, 0, entry.begin);
  put(to, 8, entry.bytes);
  put(to, 16, entry.first_page);
  put(to, 20, entry.kind);
  put(to, 24, entry.flags);
}

RegionEntry decode_region(std::span<const std::byte> from) {
  return {.begin = get<std::uint64_t>(from, 0),
          .bytes = get<std::uint64_t>(from, 8),
          .first_page = get<std::uint32_t>(from, 16),
          .kind = get<std::uint32_t>(from, 20),
          .flags = get<std::uint64_t>(from, 24)};
}

void encode(const Extent& extent, std::span<std::byte> to) {
  constexpr unsigned kKindShift = 56;
  put(to, 0, extent.first);
  put(to, 4, extent.count);
  put(to, 8, extent.slot | std::uint64_t{static_cast<std::uint8_t>(extent.kind)} << kKindShift);
}

absl::StatusOr<Extent> decode_extent(std::span<const std::byte> from) {
  constexpr unsigned kKindShift = 56;
  const auto word = get<std::uint64_t>(from, 8);
  const auto kind = static_cast<ExtentKind>(word >> kKindShift);
  if (kind != ExtentKind::kData && kind != ExtentKind::kZero) {
    return absl::DataLossError(absl::StrFormat("an extent of unknown kind %u", word >> kKindShift));
  }
  return Extent{.first = get<std::uint32_t>(from, 0),
                .count = get<std::uint32_t>(from, 4),
                .slot = word & ((std::uint64_t{1} << kKindShift) - 1),
                .kind = kind};
}

void encode(const PageRun& run, std::span<std::byte> to) {
  put(to, 0, run.first);
  put(to, 4, run.count);
}

PageRun decode_page_run(std::span<const std::byte> from) {
  return {.first = get<std::uint32_t>(from, 0), .count = get<std::uint32_t>(from, 4)};
}

}  // namespace vm_mem::internal
