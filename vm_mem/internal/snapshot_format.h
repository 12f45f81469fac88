// The snapshot file, byte by byte: docs/snapshot_format.md. Values in memory on one side,
// pages of little-endian bytes on the other; nothing here opens a file.
#ifndef VM_MEM_INTERNAL_SNAPSHOT_FORMAT_H_
#define VM_MEM_INTERNAL_SNAPSHOT_FORMAT_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "vm_mem/snapshot_info.h"

namespace vm_mem::internal {

inline constexpr std::size_t kSnapshotPageBytes = 4096;
inline constexpr std::uint16_t kSnapshotMajor = 1;
inline constexpr std::uint16_t kSnapshotMinor = 0;
inline constexpr std::uint64_t kMaxSnapshotPages = std::uint64_t{1} << 32;
inline constexpr std::uint32_t kMaxSnapshotRegions = 65536;
inline constexpr std::uint32_t kMaxSnapshotSections = 16384;
inline constexpr std::size_t kMaxParentName = 255;
inline constexpr std::size_t kMaxSectionName = 64;

// Bits of Superblock::incompatible: who does not know one cannot read the file.
inline constexpr std::uint64_t kFeatureFrames = 1;  // pages in frames, compressed or not
inline constexpr std::uint64_t kKnownIncompatible = kFeatureFrames;

// So many data pages, by slot, are a frame; the last one may have fewer.
inline constexpr std::uint64_t kFramePages = 16;
inline constexpr std::size_t kFrameBytes = kFramePages * kSnapshotPageBytes;

using SnapshotPage = std::array<std::byte, kSnapshotPageBytes>;

// Rounded up to pages.
constexpr std::uint64_t paged(std::uint64_t bytes) {
  return (bytes + (kSnapshotPageBytes - 1)) & ~std::uint64_t{kSnapshotPageBytes - 1};
}

// The first page of a file.
struct Superblock {
  std::uint16_t major = kSnapshotMajor;
  std::uint16_t minor = kSnapshotMinor;
  std::uint64_t incompatible = 0;
  std::uint64_t read_only_compatible = 0;
  std::uint64_t compatible = 0;
  SnapshotId id;
  SnapshotId parent;              // zero: none
  std::uint32_t parent_seal = 0;  // the checksum of the parent's footer
  std::uint32_t depth = 0;        // parents below
  std::uint64_t guest_pages = 0;
  std::int64_t created = 0;  // seconds since 1970
  std::string parent_name;   // without a folder
};

// The last page of a file. Without it the file is not complete.
struct Footer {
  SnapshotId id;
  std::uint64_t file_bytes = 0;
  std::uint64_t data_pages = 0;  // behind the superblock
  std::uint64_t table_offset = 0;
  std::uint32_t section_count = 0;
  std::uint32_t table_checksum = 0;
  std::uint32_t superblock_checksum = 0;
  std::uint64_t frame_pages = 0;  // that the frames take, behind the superblock
};

enum class SectionKind : std::uint32_t {
  kRegions = 1,
  kPageMap = 2,
  kPageChecksums = 3,
  kWorkingSet = 4,
  kDeviceState = 5,
  kFrames = 6,
};

inline constexpr std::uint32_t kSectionRequired = 1;  // who does not know the kind gives up

// Where a section lies. Its checksum covers it up to the end of its last page.
struct SectionEntry {
  SectionKind kind = SectionKind::kRegions;
  std::uint32_t version = 0;
  std::uint32_t flags = 0;
  std::uint32_t checksum = 0;
  std::uint64_t offset = 0;
  std::uint64_t bytes = 0;
  std::string name;
};

inline constexpr std::size_t kSectionEntryBytes = 128;
inline constexpr std::size_t kRegionEntryBytes = 32;
inline constexpr std::size_t kExtentBytes = 16;
inline constexpr std::size_t kPageRunBytes = 8;
inline constexpr std::size_t kFrameEntryBytes = 16;

enum class ExtentKind : std::uint8_t { kData = 1, kZero = 2 };

// Consecutive guest pages, numbered through all regions. What no extent names is the
// parent's, and zero where there is none.
struct Extent {
  std::uint32_t first = 0;
  std::uint32_t count = 0;
  std::uint64_t slot = 0;  // of the first, among the data pages; 0 for kZero
  ExtentKind kind = ExtentKind::kData;

  std::uint64_t end() const { return std::uint64_t{first} + count; }
};

struct PageRun {
  std::uint32_t first = 0;
  std::uint32_t count = 0;
};

enum class FrameCodec : std::uint8_t { kPlain = 0, kLz4 = 1, kZstd = 2 };

// One frame. Frames lie one after the other, each from the beginning of a page on. The checksum
// covers it to the end of its last page.
struct FrameEntry {
  std::uint32_t bytes = 0;
  std::uint32_t checksum = 0;
  FrameCodec codec = FrameCodec::kPlain;
  std::uint64_t page = 0;  // its first, counted from behind the superblock; not in the file

  std::uint64_t end_page() const { return page + paged(bytes) / kSnapshotPageBytes; }
};

// One region, beginning at guest page number `first_page` of the file.
struct RegionEntry {
  std::uint64_t begin = 0;  // guest address
  std::uint64_t bytes = 0;
  std::uint32_t first_page = 0;
  std::uint32_t kind = 1;  // RAM

  friend bool operator==(const RegionEntry&, const RegionEntry&) = default;
};

// Each puts its own checksum into the last 4 bytes.
SnapshotPage encode(const Superblock& superblock);
SnapshotPage encode(const Footer& footer);
// The last 4 bytes.
std::uint32_t seal_of(const SnapshotPage& page);

// Errors:  the reason alone: kInvalidArgument    no snapshot at all
//                            kUnimplemented      of a version, or with features, that this
//                                                code does not know
//                            kDataLoss           damaged
absl::StatusOr<Superblock> decode_superblock(const SnapshotPage& page);
absl::StatusOr<Footer> decode_footer(const SnapshotPage& page);

// Needs:  `to` has the entry's size; a name of kMaxSectionName bytes at most.
void encode(const SectionEntry& entry, std::span<std::byte> to);
void encode(const RegionEntry& entry, std::span<std::byte> to);
void encode(const Extent& extent, std::span<std::byte> to);
void encode(const PageRun& run, std::span<std::byte> to);
void encode(const FrameEntry& entry, std::span<std::byte> to);

// Errors:  as above.
absl::StatusOr<SectionEntry> decode_section(std::span<const std::byte> from);
RegionEntry decode_region(std::span<const std::byte> from);
absl::StatusOr<Extent> decode_extent(std::span<const std::byte> from);
PageRun decode_page_run(std::span<const std::byte> from);
absl::StatusOr<FrameEntry> decode_frame(std::span<const std::byte> from);

// Numbers the pages of regions that are sorted.
//
// Errors:  kInvalidArgument: two overlap, or they are too many or too large
absl::Status number_pages(std::span<RegionEntry> regions);

inline std::uint64_t page_count_of(std::span<const RegionEntry> regions) {
  if (regions.empty()) return 0;
  return regions.back().first_page + regions.back().bytes / kSnapshotPageBytes;
}

// Whether a parent may be called that: one component of a path.
bool is_plain_name(std::string_view name);

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_SNAPSHOT_FORMAT_H_
