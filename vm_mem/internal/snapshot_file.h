// One snapshot file, opened and checked: everything in it but the pages.
#ifndef VM_MEM_INTERNAL_SNAPSHOT_FILE_H_
#define VM_MEM_INTERNAL_SNAPSHOT_FILE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "vm_mem/internal/file_calls.h"
#include "vm_mem/internal/snapshot_format.h"

namespace vm_mem::internal {

// Consecutive guest pages that lie one after the other in one file of a chain.
struct DataRun {
  std::uint32_t file = 0;  // in SnapshotChain::files()
  std::uint32_t first = 0;
  std::uint32_t count = 0;
  std::uint64_t slot = 0;

  std::uint64_t end() const { return std::uint64_t{first} + count; }
};

struct ReadLimits {
  std::uint64_t table_bytes = UINT64_MAX;  // of all tables that are kept in memory
};

// Which snapshot a file is, and of which content.
struct SnapshotMark {
  SnapshotId id;
  std::uint32_t seal = 0;

  friend bool operator==(const SnapshotMark&, const SnapshotMark&) = default;
};

class SnapshotFile {
 public:
  // Reads by pread(2) alone, since a mapped file that somebody shortens ends the process.
  //
  // Errors:  those of Snapshot::open()
  static absl::StatusOr<std::unique_ptr<SnapshotFile>> open(const std::string& path,
                                                            const ReadLimits& limits,
                                                            FileCalls& calls = FileCalls::host());
  // By its first and its last page alone.
  static absl::StatusOr<SnapshotMark> mark_of(const std::string& path);

  const OpenFile& file() const { return file_; }
  FileCalls& calls() const { return calls_; }
  const Superblock& superblock() const { return superblock_; }
  std::uint32_t seal() const { return seal_; }
  std::span<const RegionEntry> regions() const { return regions_; }
  // Sorted and disjoint.
  std::span<const Extent> extents() const { return extents_; }
  // Of the data pages, by slot.
  std::span<const std::uint32_t> checksums() const { return checksums_; }
  std::span<const PageRun> working_set() const { return working_set_; }
  // Without their bytes.
  const std::vector<DeviceState>& states() const { return states_; }

  // Errors:  kNotFound; kDataLoss; of the host
  absl::StatusOr<DeviceState> read_state(const std::string& id) const;
  // Compares the checksums of all sections, those that nobody has read yet, too.
  //
  // Errors:  kDataLoss; of the host
  absl::Status verify_sections() const;
  // Of a data page in a file without frames.
  static std::uint64_t offset_of(std::uint64_t slot) { return (slot + 1) * kSnapshotPageBytes; }
  bool has_frames() const { return (superblock_.incompatible & kFeatureFrames) != 0; }
  // Of kFramePages data pages each, by slot.
  std::span<const FrameEntry> frames() const { return frames_; }
  // Where a data page is, or its frame.
  std::uint64_t place_of(std::uint64_t slot) const {
    return offset_of(has_frames() ? frames_[slot / kFramePages].page : slot);
  }
  // Its own pages, whether or not a younger file has others in their place.
  std::vector<DataRun> data_runs(std::uint32_t file) const;
  // Needs:  page < guest_pages
  GuestAddress address_of(std::uint64_t page) const;
  SnapshotInfo info() const;
  // Whether the page of `slot` has these bytes.
  bool matches(std::uint64_t slot, std::span<const std::byte> page) const;

 private:
  using VisitBlock = std::function<absl::Status(std::uint64_t, std::span<const std::byte>)>;

  SnapshotFile(OpenFile file, std::uint64_t bytes, const ReadLimits& limits, FileCalls& calls);

  absl::Status error(std::uint64_t offset, const absl::Status& reason) const;
  absl::Status read_page(std::uint64_t offset, SnapshotPage& page) const;
  absl::Status load();
  absl::Status read_ends();
  absl::Status check_footer() const;
  absl::Status read_table();
  absl::Status check_table();
  absl::Status check_names() const;
  absl::Status read_section(const SectionEntry& entry);
  // Passes the bytes of a section on, block by block with their offsets, and compares its
  // checksum in the end.
  absl::Status read_blocks(const SectionEntry& entry, const VisitBlock& visit) const;
  template <typename Visit>
  absl::Status read_records(const SectionEntry& entry, std::size_t bytes_each, Visit visit) const;
  absl::Status too_large(const SectionEntry& entry, std::uint64_t bytes, std::uint64_t most) const;
  // Counts what a section takes in memory.
  absl::Status charge(const SectionEntry& entry, std::uint64_t bytes);
  // How many records of a section there are, where memory for them is permitted.
  absl::StatusOr<std::uint64_t> count_of(const SectionEntry& entry, std::size_t bytes_each,
                                         std::uint64_t most);
  absl::Status read_regions(const SectionEntry& entry);
  absl::Status read_page_map(const SectionEntry& entry);
  absl::Status add_extent(const Extent& extent, std::vector<bool>& taken);
  absl::Status read_checksums(const SectionEntry& entry);
  absl::Status read_working_set(const SectionEntry& entry);
  absl::Status read_frames(const SectionEntry& entry);
  absl::Status check_frame(const FrameEntry& frame) const;
  // How many pages lie between the superblock and the sections.
  std::uint64_t stored_pages() const {
    return has_frames() ? footer_.frame_pages : footer_.data_pages;
  }

  OpenFile file_;
  std::uint64_t bytes_;
  ReadLimits limits_;
  std::uint64_t table_bytes_left_;
  FileCalls& calls_;
  Superblock superblock_;
  Footer footer_;
  std::uint32_t superblock_checksum_ = 0;
  std::uint32_t seal_ = 0;
  std::vector<SectionEntry> sections_;
  std::vector<RegionEntry> regions_;
  std::vector<Extent> extents_;
  std::vector<std::uint32_t> checksums_;
  std::vector<PageRun> working_set_;
  std::vector<FrameEntry> frames_;
  std::vector<DeviceState> states_;
};

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_SNAPSHOT_FILE_H_
