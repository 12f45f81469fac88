// A snapshot that the guest runs on before all of it is read: what is touched comes first,
// and the rest meanwhile.
//
// The kernel tells which pages are touched (userfaultfd). None is visible before it was
// compared with its checksum. docs/snapshots.md has how to use it, and what it asks of others
// who have the memory.
//
// In the library vm::mem_snapshot.
#ifndef VM_MEM_LAZY_RESTORE_H_
#define VM_MEM_LAZY_RESTORE_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "vm_mem/guest_address.h"
#include "vm_mem/memory_manager.h"
#include "vm_mem/snapshot.h"

namespace vm_mem {

namespace internal {
class LazyRun;
}

// Who brings a page that somebody touches.
enum class LazyFaults : std::uint8_t {
  // The thread that touches it, in the library's handler of SIGBUS: the fastest, and what
  // works without privileges. System calls are given EFAULT by pages that are not there:
  // leases bring theirs, and for other pointers there is ensure_present().
  kInThread,
  // A thread of the library: for KVM's vCPUs, libraries that are given pointers, and system
  // calls. Takes CAP_SYS_PTRACE, vm.unprivileged_userfaultfd = 1, or access to
  // /dev/userfaultfd.
  kHandler,
};

// Regions whose memory others can map: of a memfd.
enum class LazyShared : std::uint8_t {
  // They are restored before start() returns. Another mapping of the memory (of another
  // process, of a translator's window) shows absent pages as zero, and nobody is told.
  kEager,
  // Lazily, as private memory is: the caller vouches that nobody reaches them by another
  // mapping before done().
  kLazy,
};

// What becomes of a page that is damaged in its file, or cannot be read from it.
enum class LazyDamage : std::uint8_t {
  // Whoever touches it gets SIGBUS (a system call: EFAULT, a vCPU of KVM too). Accesses to
  // recoverable regions report kHostFault, others end the process: see
  // RamOptions::fault_recovery. No HostFaultPolicy::kZeroPage comes between. A save fails with
  // kDataLoss. discard() of it is the way out.
  kPoison,
  // It is zero from here on, as if the guest had written that.
  kZeros,
};

// The guest's address as of start().
using LazyDamageCallback = std::function<LazyDamage(GuestAddress page, const absl::Status& why)>;

struct LazyRestoreOptions {
  LazyFaults faults = LazyFaults::kInThread;
  LazyShared shared = LazyShared::kEager;
  // The snapshot's working set is there before start() returns.
  bool prefetch = true;
  // A thread of low priority brings the rest, in the order of the file.
  bool fill = true;
  // What one touch brings around the page that it needs; up to 2 MiB where touches follow one
  // after the other.
  //
  // Units:  4096 to 2 MiB, a power of two. 4096: that page alone, so that touched() is exact.
  std::uint64_t fault_around_bytes = std::uint64_t{64} << 10;
  // The most pages that touched() returns.
  std::uint64_t record_pages = std::uint64_t{1} << 18;
  // Asked once for each damaged page, by a thread of the library, while whoever touched it
  // waits. It must not touch guest memory, nor wait for somebody who does. Not given: kPoison.
  LazyDamageCallback on_damage = {};
  SnapshotLeases leases = SnapshotLeases::kRefuse;  // as of restore_snapshot()
  SnapshotIo io = SnapshotIo::kRing;                // of prefetch, fill and finish()
};

// Units:  pages
struct LazyStatistics {
  std::uint64_t absent = 0;      // that are still to come
  std::uint64_t prefetched = 0;  // of the working set
  std::uint64_t touched = 0;     // that touches brought, with those around them
  std::uint64_t asked_for = 0;   // by ensure_present() and leases
  std::uint64_t filled = 0;      // in the background, and by finish()
  std::uint64_t damaged = 0;
  std::uint64_t eager = 0;   // of regions that were restored as a whole
  std::uint64_t faults = 0;  // touches of pages that were not there
};

// Any number of threads may use one.
class LazyRestore {
 public:
  // Makes the RAM of `memory` what it was when the snapshot was saved, as restore_snapshot()
  // does; pages come when they are touched. What RAM held is given back to the host at once.
  // All RAM is marked dirty, and who watches code in it is told; that pages come later is no
  // write of the guest's.
  //
  // Private files, shared ones, huge pages and the caller's memory are restored before it
  // returns, and so is a memfd (LazyShared).
  //
  // Until done(): MemoryManager::discard() works as ever; remove_region() and resize_region()
  // to less are refused with kUnavailable, restore_snapshot() and another start() with
  // kFailedPrecondition; save_snapshot() and SnapshotSeries take absent pages from the files,
  // and do not bring them. A child of fork() does not have the memory at all, and must not
  // use or destroy this object: it may exec or _exit. Huge pages are off, and come back as the
  // regions' options say. A thread that blocks SIGBUS is ended by kInThread's first fault:
  // prepare_thread_for_host_faults().
  //
  // Needs:   nobody accesses RAM, and the map does not change, from the call to its return.
  //          `memory` outlives it. kInThread: an embedder that owns the handler of SIGBUS
  //          (FaultHandler::kEmbedder) calls recover_host_fault() first in it.
  // Errors:  those of restore_snapshot(), before anything is touched;
  //          kInvalidArgument     fault_around_bytes
  //          kUnimplemented       the host has no userfaultfd, or none that does this: the
  //                               message says what is missing; a file has compressed pages;
  //                               restore_snapshot() works
  //          kPermissionDenied    this process may not use it; as well
  //          kFailedPrecondition  another userfaultfd watches the memory, such as a
  //                               ForeignWriteTracker; it is being restored already
  //          kDataLoss            a page of an eager region is damaged
  //          kUnavailable, kResourceExhausted  of the host
  //          Once memory was touched, it is given back and zero after an error; the message
  //          says so.
  static absl::StatusOr<std::unique_ptr<LazyRestore>> start(
      MemoryManager& memory, std::shared_ptr<const Snapshot> snapshot,
      const LazyRestoreOptions& options = {});
  static absl::StatusOr<std::unique_ptr<LazyRestore>> start(MemoryManager& memory,
                                                            Snapshot snapshot,
                                                            const LazyRestoreOptions& options = {});

  LazyRestore(const LazyRestore&) = delete;
  LazyRestore& operator=(const LazyRestore&) = delete;
  // What is not there yet is lost: accesses to it fail, as of a damaged page; they never see
  // zeros instead. Where the host cannot do that, it brings the rest.
  ~LazyRestore();

  // Brings what is absent of `range`, of all that is mapped there: before a system call is
  // given a pointer to it.
  //
  // Errors:  kDataLoss  a damaged page; kNotFound: nothing is mapped at some byte
  //          kUnavailable  of the host
  absl::Status ensure_present(GuestRange range);

  // Brings all that is absent, and returns when done().
  //
  // Errors:  kDataLoss  a page is damaged and was poisoned; all others are there
  //          kUnavailable  of the host; some may be absent
  absl::Status finish();
  // Nothing is absent any more, and the memory is what it would be without this object.
  bool done() const;

  // What a later save may want as its SnapshotSaveOptions::working_set: the working set that
  // was prefetched, since touches of that are not seen, then what touches brought, in their
  // order. Pages around those that were touched are among them, see fault_around_bytes.
  std::vector<GuestAddress> touched() const;

  LazyStatistics statistics() const;
  const Snapshot& snapshot() const;

 private:
  explicit LazyRestore(std::unique_ptr<internal::LazyRun> run);

  std::unique_ptr<internal::LazyRun> run_;
};

}  // namespace vm_mem

#endif  // VM_MEM_LAZY_RESTORE_H_
