// Who watches code, and in which regions: what CodeWatch is made of.
//
// watch() is
//   1. under the lock of each region its chunks are counted, and pages get their bit;
//   2. where that is new, everybody who writes without looking is told to look, and a
//      barrier runs on every thread of the process: who stored before it has stored for
//      all to see, who stores after it finds the bit;
//   3. the pages are settled: who watches more of them needs no barrier.
// Step 2 runs without a lock, as who is told to look may wait for threads that watch. Where
// somebody could not, the pages are not settled, and whoever watches them next does step 2
// again.
#ifndef VM_MEM_INTERNAL_CODE_BOOK_H_
#define VM_MEM_INTERNAL_CODE_BOOK_H_

#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "vm_mem/code_watch.h"
#include "vm_mem/internal/process_barrier.h"
#include "vm_mem/internal/region_table.h"
#include "vm_mem/internal/section_diff.h"
#include "vm_mem/internal/watcher_list.h"
#include "vm_mem/internal/write_watch.h"

namespace vm_mem::internal {

class CodeBook {
 public:
  // `regions` outlives it. `watchers` are those of the regions' WriteWatch.
  CodeBook(const RegionTable& regions, std::shared_ptr<WatcherList> watchers)
      : regions_(regions), watchers_(std::move(watchers)) {}

  WatcherList& watchers() { return *watchers_; }

  // As the calls of CodeWatch that are named alike.
  absl::StatusOr<CodeStamp> watch(std::span<const CodeRange> ranges);
  absl::Status release(std::span<const CodeRange> ranges);
  bool written_since(CodeStamp stamp, std::span<const CodeRange> ranges) const;
  CodeStamp now() const { return {watchers_->last_stamp()}; }
  absl::Status written(const CodeRange& range, WriteCause cause);
  bool is_watched(RegionId region, std::uint64_t offset) const;

  // Tells of what the change took away, after it is published.
  void tell(const SectionDiff& diff);

 private:
  // A range with what it is in. Keeps the region alive.
  struct Place {
    std::shared_ptr<Region> region;
    CodeRange range;

    WriteWatch& watch() const { return *region->write_watch.load(std::memory_order_acquire); }
    DirtyLog* log() const { return region->dirty_log.load(std::memory_order_acquire); }
  };

  // Of what was cut off a region its users may still let go.
  enum class Within { kRegion, kCapacity };

  // Places that have one user more, of this, until its end.
  class Users;

  absl::StatusOr<Place> find(const CodeRange& range, Within within = Within::kRegion) const;
  // None where it cannot be watched, or there is no memory to find out: nobody watches it.
  std::optional<Place> find_watched(const CodeRange& range) const noexcept;
  absl::StatusOr<std::vector<Place>> find_all(std::span<const CodeRange> ranges) const;
  absl::Status settle(std::span<const Place> places);
  absl::Status run_barrier();

  const RegionTable& regions_;
  const std::shared_ptr<WatcherList> watchers_;
  mutable std::mutex rom_mutex_;  // of making a ROM's WriteWatch
  std::mutex barrier_mutex_;      // of what follows
  std::optional<ProcessBarrier> barrier_;
};

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_CODE_BOOK_H_
