// A snapshot and those that it rests on: which file has each guest page.
#ifndef VM_MEM_INTERNAL_SNAPSHOT_CHAIN_H_
#define VM_MEM_INTERNAL_SNAPSHOT_CHAIN_H_

#include <algorithm>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "vm_mem/internal/snapshot_file.h"
#include "vm_mem/snapshot.h"

namespace vm_mem::internal {

inline constexpr std::uint32_t kMaxSnapshotDepth = 32;

class SnapshotChain {
 public:
  // Errors:  those of Snapshot::open()
  static absl::StatusOr<SnapshotChain> open(const std::string& path,
                                            const SnapshotOpenOptions& options,
                                            FileCalls& calls = FileCalls::host());

  // The youngest first.
  std::span<const std::unique_ptr<SnapshotFile>> files() const { return files_; }
  const SnapshotFile& youngest() const { return *files_.front(); }
  // Whether every page is here: the oldest file rests on none.
  bool is_complete() const { return files_.back()->superblock().parent.is_zero(); }
  // Whether a file has its pages in frames, so that one cannot be read alone.
  bool has_frames() const {
    return std::ranges::any_of(files_, [](const auto& file) { return file->has_frames(); });
  }
  const SnapshotInfo& info() const { return info_; }

  // Where each page is that is not zero, by page; of the `depth` youngest files.
  std::vector<DataRun> data_runs(std::size_t depth = SIZE_MAX) const;
  // The pages that those files say are zero, by page.
  std::vector<PageRun> zero_runs(std::size_t depth) const;

 private:
  absl::Status add_parents(const SnapshotOpenOptions& options, FileCalls& calls);
  absl::Status check_parent(const SnapshotFile& child, const SnapshotFile& parent) const;

  std::vector<std::unique_ptr<SnapshotFile>> files_;
  SnapshotInfo info_;
};

// Appends what of `runs`, which are sorted by page, is of pages [first, end).
void append_part(std::span<const DataRun> runs, std::uint64_t first, std::uint64_t end,
                 std::vector<DataRun>& to);

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_SNAPSHOT_CHAIN_H_
