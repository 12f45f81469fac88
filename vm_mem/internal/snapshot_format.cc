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

// Where the fields are, once for both directions: docs/snapshot_format.md. `S` is const where
// they are encoded.
template <typename S, typename Field>
void superblock_fields(S& block, Field field) {
  field(8, block.major);
  field(10, block.minor);
  field(16, block.incompatible);
  field(24, block.read_only_compatible);
  field(32, block.compatible);
  field(40, block.id);
  field(56, block.parent);
  field(72, block.parent_seal);
  field(76, block.depth);
  field(80, block.guest_pages);
  field(96, block.created);
}
constexpr std::size_t kShiftAt = 12;
constexpr std::size_t kChecksumKindAt = 88;
constexpr std::size_t kParentNameBytesAt = 92;
constexpr std::size_t kParentNameAt = 128;

template <typename S, typename Field>
void footer_fields(S& footer, Field field) {
  field(8, footer.id);
  field(24, footer.file_bytes);
  field(32, footer.data_pages);
  field(40, footer.table_offset);
  field(48, footer.section_count);
  field(52, footer.table_checksum);
  field(56, footer.superblock_checksum);
  field(64, footer.frame_pages);
}

template <typename S, typename Field>
void section_fields(S& entry, Field field) {
  field(0, entry.kind);
  field(4, entry.version);
  field(8, entry.flags);
  field(12, entry.checksum);
  field(16, entry.offset);
  field(24, entry.bytes);
}
constexpr std::size_t kSectionNameBytesAt = 32;
constexpr std::size_t kSectionNameAt = 40;

template <typename S, typename Field>
void region_fields(S& region, Field field) {
  field(0, region.begin);
  field(8, region.bytes);
  field(16, region.first_page);
  field(20, region.kind);
}

auto putting(std::span<std::byte> to) {
  return [to](std::size_t at, const auto& value) { put(to, at, value); };
}

auto getting(std::span<const std::byte> from) {
  return [from]<typename T>(std::size_t at, T& value) { value = get<T>(from, at); };
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
  if (const auto shift = get<std::uint32_t>(page, kShiftAt); shift != kPageShift) {
    return absl::UnimplementedError(absl::StrFormat(
        "the snapshot has pages of 2^%u bytes; this program reads 2^%u", shift, kPageShift));
  }
  const auto checksum = get<std::uint32_t>(page, kChecksumKindAt);
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
  SnapshotPage page{};
  put_text(page, 0, kMagic);
  put(page, kShiftAt, kPageShift);
  put(page, kChecksumKindAt, kChecksumCrc32c);
  superblock_fields(superblock, putting(page));
  put(page, kParentNameBytesAt, static_cast<std::uint32_t>(superblock.parent_name.size()));
  put_text(page, kParentNameAt, superblock.parent_name);
  seal(page);
  return page;
}

SnapshotPage encode(const Footer& footer) {
  SnapshotPage page{};
  put_text(page, 0, kFooterMagic);
  footer_fields(footer, putting(page));
  seal(page);
  return page;
}

// The version comes before the checksum: a later one may have another.
absl::StatusOr<Superblock> decode_superblock(const SnapshotPage& page) {
  if (get_text(page, 0, kMagic.size()) != kMagic) {
    return absl::InvalidArgumentError("this is no snapshot: it begins with other bytes");
  }
  Superblock block;
  superblock_fields(block, getting(page));
  if (block.major != kSnapshotMajor) {
    return absl::UnimplementedError(
        absl::StrFormat("a snapshot of format %u.%u; this program reads %u", block.major,
                        block.minor, kSnapshotMajor));
  }
  if (!is_sealed(page)) return absl::DataLossError("the superblock does not match its checksum");
  if (absl::Status readable = check_readable(block, page); !readable.ok()) return readable;
  const auto name_bytes = get<std::uint32_t>(page, kParentNameBytesAt);
  if (name_bytes > kMaxParentName) {
    return absl::DataLossError(absl::StrFormat("the parent's name has %u bytes", name_bytes));
  }
  block.parent_name = get_text(page, kParentNameAt, name_bytes);
  if (block.guest_pages >= kMaxSnapshotPages) {
    return absl::DataLossError(absl::StrFormat("0x%x guest pages", block.guest_pages));
  }
  if (block.parent.is_zero() != (block.depth == 0)) {
    return absl::DataLossError(
        absl::StrFormat("a chain of %u parents, which contradicts the parent", block.depth));
  }
  return block;
}

absl::StatusOr<Footer> decode_footer(const SnapshotPage& page) {
  if (get_text(page, 0, kFooterMagic.size()) != kFooterMagic) {
    return absl::DataLossError(
        "the footer is missing: the file is cut off, or was never completed");
  }
  if (!is_sealed(page)) return absl::DataLossError("the footer does not match its checksum");
  Footer footer;
  footer_fields(footer, getting(page));
  return footer;
}

void encode(const SectionEntry& entry, std::span<std::byte> to) {
  std::ranges::fill(to, std::byte{0});
  section_fields(entry, putting(to));
  put(to, kSectionNameBytesAt, static_cast<std::uint32_t>(entry.name.size()));
  put_text(to, kSectionNameAt, entry.name);
}

absl::StatusOr<SectionEntry> decode_section(std::span<const std::byte> from) {
  const auto name_bytes = get<std::uint32_t>(from, kSectionNameBytesAt);
  if (name_bytes > kMaxSectionName) {
    return absl::DataLossError(absl::StrFormat("a section's name has %u bytes", name_bytes));
  }
  SectionEntry entry;
  section_fields(entry, getting(from));
  entry.name = get_text(from, kSectionNameAt, name_bytes);
  return entry;
}

void encode(const RegionEntry& entry, std::span<std::byte> to) {
  region_fields(entry, putting(to));
}

RegionEntry decode_region(std::span<const std::byte> from) {
  RegionEntry entry;
  region_fields(entry, getting(from));
  return entry;
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

void encode(const FrameEntry& entry, std::span<std::byte> to) {
  put(to, 0, entry.bytes);
  put(to, 4, entry.checksum);
  put(to, 8, entry.codec);
}

absl::StatusOr<FrameEntry> decode_frame(std::span<const std::byte> from) {
  const auto codec = get<FrameCodec>(from, 8);
  if (codec > FrameCodec::kZstd) {
    return absl::UnimplementedError(absl::StrFormat("a frame of unknown codec %u", codec));
  }
  return FrameEntry{.bytes = get<std::uint32_t>(from, 0),
                    .checksum = get<std::uint32_t>(from, 4),
                    .codec = codec};
}

}  // namespace vm_mem::internal
