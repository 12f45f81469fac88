// Guest memory as a file: saved, read again and checked, restored.
//
// A snapshot has every page of RAM that is not zero, with a checksum for each page and for all
// the rest, and states of devices that the embedder adds. It may rest on a parent, of which it
// holds what has changed: vm_mem/snapshot_series.h makes such. docs/snapshots.md has how to use
// them, docs/snapshot_format.md the format.
//
// In the library vm::mem_snapshot.
#ifndef VM_MEM_SNAPSHOT_H_
#define VM_MEM_SNAPSHOT_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "vm_mem/guest_address.h"
#include "vm_mem/memory_manager.h"
#include "vm_mem/snapshot_info.h"

namespace vm_mem {

namespace internal {
class SnapshotChain;
}

// What a save, or a restore, does about leases of RAM.
enum class SnapshotLeases : std::uint8_t {
  kRefuse,  // kUnavailable: somebody may write meanwhile
  kIgnore,  // the caller vouches that nobody writes through one meanwhile
};

struct SnapshotSaveOptions {
  std::vector<DeviceState> states = {};
  // Pages that lie first in the file, in this order, so that a restore gets them sooner. What is
  // named again counts once.
  std::vector<GuestAddress> working_set = {};
  SnapshotLeases leases = SnapshotLeases::kRefuse;
  SnapshotIo io = SnapshotIo::kRing;
  SnapshotProgress progress = {};
  SnapshotCompression compression = SnapshotCompression::kNone;
};

struct SnapshotSaved {
  SnapshotId id;
  std::uint64_t scanned_pages = 0;  // that were looked at: populated, or dirty
  std::uint64_t data_pages = 0;     // that are in the file
  std::uint64_t zero_pages = 0;     // that are named as zero, of an incremental one
  std::uint64_t file_bytes = 0;
  SnapshotIo io = SnapshotIo::kRing;  // what was used
};

// Writes all RAM of `memory` to a file that needs no other. Memory that nobody has touched is
// not read: an anonymous region or a memfd costs what is in it. ROM and devices are left out.
//
// The file is written under the name <path>.tmp.<uuid>, made durable, and then renamed, so
// that after a crash at any moment `path` is the old file or the new one, and whole.
//
// Needs:   nobody writes to RAM, and the map does not change, from the call to its return.
// Errors:  kInvalidArgument     RAM regions that overlap, states of the same name, a working
//                               set outside of RAM; `path` is a folder, a device or a FIFO
//          kUnavailable         leases; the host cannot write
//          kFailedPrecondition  the map changed meanwhile
//          kNotFound, kPermissionDenied, kResourceExhausted (no room)  of the host
//          kDataLoss            memory that the host cannot provide any more
//          kUnimplemented       a compression that this library was built without
//          kCancelled
//          After an error nothing of the new file is left, and the old one is as it was.
// Cost:    one pass over what is populated: zero test, copy and checksum, beside the disk.
absl::StatusOr<SnapshotSaved> save_snapshot(MemoryManager& memory, const std::string& path,
                                            const SnapshotSaveOptions& options = {});

enum class SnapshotParents : std::uint8_t { kOpen, kIgnore };

struct SnapshotOpenOptions {
  // kIgnore: info, states and verify() of this file alone, though it rests on others.
  SnapshotParents parents = SnapshotParents::kOpen;
  // Where a parent is, by the name that it was saved under: one without a folder. Not given: in
  // the folder of the file that rests on it.
  std::function<absl::StatusOr<std::string>(const SnapshotId& parent, const std::string& name)>
      find_parent = {};
  // The most that a file's tables may take in memory: what a hostile file can make this
  // process use. A file of 1 TiB has about 1 GiB.
  std::uint64_t max_table_bytes = std::uint64_t{4} << 30;
};

struct SnapshotReadOptions {
  SnapshotIo io = SnapshotIo::kRing;
  SnapshotProgress progress = {};
};

// A snapshot that was opened and checked: all but the pages, which are checked as they are
// read. It keeps its files open. Any number of threads may use one.
class Snapshot {
 public:
  // Errors:  with the file, the offset in it and the reason:
  //          kInvalidArgument     this is no snapshot, or no regular file; a symbolic link
  //          kUnimplemented       a later format, or features that are not known; a compression
  //                               that this library was built without
  //          kDataLoss            damaged, cut off, or never completed
  //          kFailedPrecondition  the parent is another file than the one that it was saved
  //                               on, or has other regions; parents in a loop
  //          kNotFound, kPermissionDenied, kUnavailable  of the host
  //          kResourceExhausted   more tables than max_table_bytes, or no memory for them
  static absl::StatusOr<Snapshot> open(const std::string& path,
                                       const SnapshotOpenOptions& options = {});
  Snapshot(Snapshot&&) noexcept;
  Snapshot& operator=(Snapshot&&) noexcept;
  ~Snapshot();

  const std::string& path() const;
  const SnapshotInfo& info() const;
  // Itself, then its parent, and so on.
  std::vector<SnapshotInfo> chain() const;
  // By their ids and versions; each is read and checked by state().
  const std::vector<DeviceState>& states() const;
  // Errors:  kNotFound; kDataLoss; of the host
  absl::StatusOr<DeviceState> state(const std::string& id) const;
  // As it was given to the save, pages one by one.
  // Errors:  std::bad_alloc alone, as chain()
  std::vector<GuestAddress> working_set() const;

  // Reads every page and every section of every file of the chain, and compares the checksums.
  //
  // Errors:  kDataLoss with file, offset and guest address of the first page that differs;
  //          of the host; kCancelled
  absl::Status verify(const SnapshotReadOptions& options = {}) const;

  // For this library alone.
  const internal::SnapshotChain& files() const { return *chain_; }

 private:
  explicit Snapshot(std::unique_ptr<internal::SnapshotChain> chain);

  std::unique_ptr<internal::SnapshotChain> chain_;
};

// When pages are compared with their checksums.
enum class RestoreCheck : std::uint8_t {
  // Before memory is touched, unless all of it is untouched yet: then the file is read once,
  // and what was written of it is given back where it turns out to be damaged.
  kBefore,
  // As they are read. Where one is damaged, memory is partly restored.
  kMeanwhile,
};

struct SnapshotRestoreOptions {
  RestoreCheck check = RestoreCheck::kBefore;
  SnapshotLeases leases = SnapshotLeases::kRefuse;
  SnapshotIo io = SnapshotIo::kRing;
  SnapshotProgress progress = {};
};

// Makes RAM what it was when the snapshot was saved. `memory` has the same RAM regions, of any
// backing. What is zero in the snapshot is given back to the host where it can be, but for huge
// pages of a pool. All RAM is marked dirty, and who watches code in it is told.
//
// Needs:   nobody accesses RAM, and the map does not change, from the call to its return.
//          kBefore: nobody else writes the file.
// Errors:  kFailedPrecondition  other regions than the snapshot's; the message names the first
//                               difference
//          kPermissionDenied    memory that this process cannot write
//          kUnavailable         leases; the host cannot read
//          kDataLoss            the file is damaged; the message says where
//          kCancelled
//          Memory is then as it was. After kMeanwhile, and where the host fails to read a
//          second time, it may be partly restored; the message says so.
// Cost:    kBefore on memory that is in use: the file is read twice.
absl::Status restore_snapshot(MemoryManager& memory, const Snapshot& snapshot,
                              const SnapshotRestoreOptions& options = {});

}  // namespace vm_mem

#endif  // VM_MEM_SNAPSHOT_H_
