// Writes one snapshot file: pages in any order, then what is known at the end.
#ifndef VM_MEM_INTERNAL_SNAPSHOT_WRITER_H_
#define VM_MEM_INTERNAL_SNAPSHOT_WRITER_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "vm_mem/internal/block_pipe.h"
#include "vm_mem/internal/frames.h"
#include "vm_mem/internal/new_file.h"
#include "vm_mem/internal/snapshot_format.h"

namespace vm_mem::internal {

// What a file is bound to.
struct SnapshotBase {
  SnapshotId id;           // zero: there is none, and the file is a full snapshot
  std::uint32_t seal = 0;  // the checksum of its footer
  std::uint32_t depth = 0;
  std::string name;
};

struct WrittenSnapshot {
  SnapshotId id;
  std::uint32_t seal = 0;
  std::uint64_t data_pages = 0;
  std::uint64_t zero_pages = 0;
  std::uint64_t file_bytes = 0;
  SnapshotIo io = SnapshotIo::kRing;
};

struct SnapshotTarget {
  std::string path;
  SnapshotIo io = SnapshotIo::kRing;
  FileCalls* calls = &FileCalls::host();
  SnapshotCompression compression = SnapshotCompression::kNone;
};

class SnapshotWriter {
 public:
  // Begins the file; it is removed with this object, unless commit() was ok.
  //
  // Needs:  `regions` are sorted, and number their pages from 0 on.
  // Errors:  kInvalidArgument, and those of file_refused()
  static absl::StatusOr<std::unique_ptr<SnapshotWriter>> create(SnapshotTarget target,
                                                                std::vector<RegionEntry> regions,
                                                                const SnapshotBase& base);
  SnapshotWriter(const SnapshotWriter&) = delete;
  SnapshotWriter& operator=(const SnapshotWriter&) = delete;

  // Where the next page's bytes are to be put: kSnapshotPageBytes of them. The same place
  // again where nobody called put_page().
  //
  // Errors:  those of the writes that go on beside
  absl::StatusOr<std::byte*> room() { return packer_ == nullptr ? block_room() : frame_room(); }
  // What lies in room() is guest page `page`. Needs:  of no other call.
  void put_page(std::uint32_t page);
  // These guest pages are zero, where the parent may say otherwise.
  void put_zero(std::uint64_t first, std::uint64_t count);

  // Completes the file, and gives it its name.
  //
  // Errors:  those of file_refused(). The old file of that name is as it was, unless it is
  //          the folder that could not be written to the disk: then the new one is there, for
  //          as long as the host runs.
  absl::StatusOr<WrittenSnapshot> commit(std::span<const PageRun> working_set,
                                         std::span<const DeviceState> states);

 private:
  SnapshotWriter(SnapshotTarget target, NewFile file, std::vector<RegionEntry> regions);
  absl::Status open(const SnapshotBase& base);
  absl::StatusOr<std::byte*> block_room() {
    if (fill_ == block_.size()) {
      if (absl::Status taken = next_block(); !taken.ok()) return taken;
    }
    return block_.data() + fill_;
  }
  absl::StatusOr<std::byte*> frame_room();
  absl::Status append_frame();
  absl::Status next_block();
  absl::Status flush();
  // One page.
  absl::Status append(std::span<const std::byte> page);
  std::uint64_t offset() const { return block_offset_ + fill_; }
  void extend(const Extent& extent);

  // Appends a section of records, `encode_one(i, to)` for each.
  template <typename EncodeOne>
  absl::Status append_section(SectionEntry entry, std::size_t count, std::size_t bytes_each,
                              EncodeOne encode_one);
  absl::Status append_sections(std::span<const PageRun> working_set,
                               std::span<const DeviceState> states);
  absl::Status append_table(Footer& footer);

  SnapshotTarget target_;
  NewFile file_;
  std::unique_ptr<BlockPipe> pipe_;      // goes before file_
  std::span<std::byte> block_;           // being filled
  std::unique_ptr<FramePacker> packer_;  // nullptr: pages are stored as they are
  std::vector<FrameEntry> frames_;
  std::size_t fill_ = 0;
  std::uint64_t block_offset_ = 0;

  SnapshotId id_;
  std::vector<RegionEntry> regions_;
  std::uint32_t superblock_checksum_ = 0;
  std::vector<Extent> extents_;
  std::vector<std::uint32_t> checksums_;  // of the data pages
  std::uint64_t zero_pages_ = 0;
  std::vector<SectionEntry> sections_;
};

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_SNAPSHOT_WRITER_H_
