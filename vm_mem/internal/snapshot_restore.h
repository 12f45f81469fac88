// A snapshot back into guest memory.
#ifndef VM_MEM_INTERNAL_SNAPSHOT_RESTORE_H_
#define VM_MEM_INTERNAL_SNAPSHOT_RESTORE_H_

#include <span>
#include <vector>

#include "absl/status/status.h"
#include "vm_mem/internal/guest_ram.h"
#include "vm_mem/internal/snapshot_chain.h"
#include "vm_mem/memory_manager.h"
#include "vm_mem/snapshot.h"

namespace vm_mem::internal {

// Errors:  those of restore_snapshot()
absl::Status restore_memory(MemoryManager& memory, const SnapshotChain& chain,
                            const SnapshotRestoreOptions& options);

// The same for those regions of `ram` alone that `wanted` says, one each.
absl::Status restore_regions(const GuestRam& ram, const SnapshotChain& chain,
                             const SnapshotRestoreOptions& options,
                             const std::vector<bool>& wanted);

// What both have to look at before anything is touched.
absl::Status check_restorable(const GuestRam& ram, const SnapshotChain& chain,
                              SnapshotLeases leases);

// Marks all of a region as written.
void mark_restored(const RamRegion& region);

// Errors:  kFailedPrecondition, with the first difference
absl::Status check_same_regions(const SnapshotFile& file, std::span<const RegionEntry> memory);

// Errors:  kFailedPrecondition: its parents were not opened
absl::Status check_complete(const SnapshotChain& chain);

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_SNAPSHOT_RESTORE_H_
