// Which pages of guest memory a snapshot has, and where two of them differ.
//
// In the library vm::mem_snapshot.
#ifndef VM_MEM_SNAPSHOT_PAGES_H_
#define VM_MEM_SNAPSHOT_PAGES_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "vm_mem/guest_address.h"
#include "vm_mem/snapshot.h"

namespace vm_mem {

enum class SnapshotFiles : std::uint8_t {
  kYoungest,  // this file alone
  kOpen,      // with those of its parents that were opened
};

// The data pages of `files` that a restore would bring: ascending, neighbours joined.
std::vector<GuestRange> data_ranges(const Snapshot& snapshot, SnapshotFiles files);

// What two snapshots do not have in common. Names and times, and in which file of a chain a
// page lies, are no difference.
struct SnapshotDiff {
  // Pages of memory that both have: ascending, neighbours joined.
  std::vector<GuestRange> pages = {};
  // Memory that only one of them has.
  std::vector<GuestRange> only_first = {};
  std::vector<GuestRange> only_second = {};
  // Device states by their ids: of another version or with other bytes.
  std::vector<std::string> states = {};
  std::vector<std::string> states_only_first = {};
  std::vector<std::string> states_only_second = {};
  // Pages whose checksums are the same, or that one of them says are zero, so that their
  // bytes had to be read.
  std::uint64_t read_pages = 0;

  bool empty() const {
    return pages.empty() && only_first.empty() && only_second.empty() && states.empty() &&
           states_only_first.empty() && states_only_second.empty();
  }
};

// Compares memory and states. A page that both have from the same file, such as a parent of
// both, is not looked at, and one whose checksums differ is not read.
//
// Errors:  kFailedPrecondition  the parents were not opened
//          kDataLoss            a page that was read is damaged; with file and offset
//          of the host; kCancelled
absl::StatusOr<SnapshotDiff> diff_snapshots(const Snapshot& first, const Snapshot& second,
                                            const SnapshotReadOptions& options = {});

}  // namespace vm_mem

#endif  // VM_MEM_SNAPSHOT_PAGES_H_
