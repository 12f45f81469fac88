// Guest memory to a file: which pages, and one pass over them.
#ifndef VM_MEM_INTERNAL_SNAPSHOT_SAVE_H_
#define VM_MEM_INTERNAL_SNAPSHOT_SAVE_H_

#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "vm_mem/internal/snapshot_writer.h"
#include "vm_mem/memory_manager.h"
#include "vm_mem/snapshot.h"

namespace vm_mem::internal {

// Of each region, bit p % 64 of word p / 64 for its page p. A region that is missing is clean.
using DirtyWords = std::map<RegionId, std::vector<std::uint64_t>>;

struct SaveOutcome {
  WrittenSnapshot written;
  std::uint64_t scanned_pages = 0;
};

// Full where `dirty` is null, else those pages on top of `base`.
//
// Errors:  those of save_snapshot()
absl::StatusOr<SaveOutcome> save_memory(MemoryManager& memory, const SnapshotTarget& target,
                                        const SnapshotSaveOptions& options,
                                        const SnapshotBase& base, const DirtyWords* dirty);

SnapshotSaved saved_of(const SaveOutcome& outcome);

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_SNAPSHOT_SAVE_H_
