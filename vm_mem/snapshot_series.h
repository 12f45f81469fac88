// Snapshots of one memory after each other, of which all but the first hold what was written
// since the one before.
//
// In the library vm::mem_snapshot.
#ifndef VM_MEM_SNAPSHOT_SERIES_H_
#define VM_MEM_SNAPSHOT_SERIES_H_

#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "vm_mem/foreign_writes.h"
#include "vm_mem/memory_manager.h"
#include "vm_mem/snapshot.h"

namespace vm_mem {

// One thread at a time.
class SnapshotSeries {
 public:
  // Adds the dirty client `client`, which counts from the first save on. Every RAM region must
  // be tracked (RamOptions::dirty_tracking), without a break, and whoever writes to it must
  // mark, or be told of by watch().
  //
  // Needs:   `memory` outlives it.
  // Errors:  those of MemoryManager::add_dirty_client()
  static absl::StatusOr<SnapshotSeries> begin(MemoryManager& memory, std::string_view client);
  // Of memory that `snapshot` has just been restored to: the next one may rest on it.
  //
  // Needs:   nobody wrote to RAM since.
  // Errors:  also kFailedPrecondition: other regions
  static absl::StatusOr<SnapshotSeries> resume(MemoryManager& memory, std::string_view client,
                                               const Snapshot& snapshot);
  SnapshotSeries(SnapshotSeries&&) noexcept;
  SnapshotSeries& operator=(SnapshotSeries&&) noexcept;
  // Removes the client.
  ~SnapshotSeries();

  // A writer that cannot mark: it is asked before each save.
  // Needs:   `writer` outlives it.
  void watch(ForeignWriteTracker& writer);

  // As save_snapshot(), and what the next incremental one rests on.
  //
  // Errors:  also kFailedPrecondition: writes to a region are not tracked
  absl::StatusOr<SnapshotSaved> save_full(const std::string& path,
                                          const SnapshotSaveOptions& options = {});
  // Holds the pages that were written since the last snapshot of the series, and rests on it.
  // All that a lease for writing shows counts as written (SnapshotLeases::kIgnore), and so does
  // all of a region that was removed and added again.
  // That is found again by its name in the same folder, unless who opens this one says where
  // else. A snapshot that is replaced by another, or removed, takes those that rest on it along.
  //
  // Errors:  as save_full(), and
  //          kFailedPrecondition  nothing to rest on: no snapshot yet, or its file is gone or
  //                               was replaced; other regions than then; a chain of 32 parents
  //                               (merge_snapshots() makes it short)
  //          kInvalidArgument     `path` is one of the files that it would rest on
  //          After an error what was written stays noted for the next save.
  absl::StatusOr<SnapshotSaved> save_incremental(const std::string& path,
                                                 const SnapshotSaveOptions& options = {});

 private:
  class State;
  explicit SnapshotSeries(std::unique_ptr<State> state);
  static absl::StatusOr<SnapshotSeries> make(MemoryManager& memory, std::string_view client);

  std::unique_ptr<State> state_;
};

}  // namespace vm_mem

#endif  // VM_MEM_SNAPSHOT_SERIES_H_
