// Snapshots into other files: chains into one, and to and from flat images of memory, as
// Firecracker and Cloud Hypervisor keep them.
//
// In the library vm::mem_snapshot.
#ifndef VM_MEM_SNAPSHOT_CONVERT_H_
#define VM_MEM_SNAPSHOT_CONVERT_H_

#include <cstdint>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "vm_mem/guest_address.h"
#include "vm_mem/snapshot.h"

namespace vm_mem {

struct SnapshotMergeOptions {
  // How many of the oldest files stay, which the new one then rests on; 0: it needs none.
  // The new file is found beside them, as an incremental one is.
  std::uint32_t kept = 0;
  SnapshotIo io = SnapshotIo::kRing;
  SnapshotProgress progress = {};
  SnapshotCompression compression = SnapshotCompression::kNone;
};

// Writes what `snapshot` and its younger parents hold into one file, with the states and the
// working set of `snapshot`. It is a snapshot of its own: what rests on the old ones does not
// rest on it.
//
// Errors:  kInvalidArgument  nothing to merge: `kept` is the length of the chain or more; `path`
//                            is one of its files
//          kFailedPrecondition  the parents were not opened
//          those of save_snapshot() about the file, and of Snapshot::verify()
// Cost:    reads the pages that are the youngest of their place, once.
absl::StatusOr<SnapshotSaved> merge_snapshots(const Snapshot& snapshot, const std::string& path,
                                              const SnapshotMergeOptions& options = {});

// Writes a flat image: the regions one after the other by guest address, each page at its
// place, holes where memory is zero. A VMM can map it; nothing in it can be checked.
//
// Errors:  kFailedPrecondition  the parents were not opened
//          those of save_snapshot() about the file, and of Snapshot::verify()
absl::Status export_flat_image(const Snapshot& snapshot, const std::string& path,
                               const SnapshotReadOptions& options = {});

// Makes a snapshot of a flat image, whose regions are given: holes are not read.
//
// Units:   ascending ranges of whole pages.
// Errors:  kInvalidArgument  no such ranges; the image has another length than they have in all;
//                            a working set is given, which is for save_snapshot() alone;
//                            `path` is the image
//          those of save_snapshot() about the file
absl::StatusOr<SnapshotSaved> import_flat_image(const std::string& image,
                                                std::span<const GuestRange> regions,
                                                const std::string& path,
                                                const SnapshotSaveOptions& options = {});

}  // namespace vm_mem

#endif  // VM_MEM_SNAPSHOT_CONVERT_H_
