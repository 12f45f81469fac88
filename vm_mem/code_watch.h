// Which bytes of guest memory hold code that somebody has translated, and who is told when
// they change.
//
// A translator watches a range, reads the code, and enters what it made of it where its
// code_written() finds it. Every writer of this library tells of watched bytes after they
// are written and before its call returns: stores, copies, DMA, what is marked for others
// by dirty logs and leases, discards, and changes of the map. Ranges are keyed by the
// region that holds the memory and the offset in it, so that aliases make no difference.
// docs/guest_memory.md has how to use it, docs/memory_model.md why it holds.
#ifndef VM_MEM_CODE_WATCH_H_
#define VM_MEM_CODE_WATCH_H_

#include <cstdint>
#include <span>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "vm_mem/region_id.h"
#include "vm_mem/write_cause.h"

namespace vm_mem {

namespace internal {
class CodeBook;
}

// A write is told where it touches a chunk of which some byte is watched.
inline constexpr std::uint64_t kCodeChunkBytes = 64;

// Bytes of one region, RAM or ROM. MapSection::shown and region_offset name them.
struct CodeRange {
  RegionId region{};
  std::uint64_t offset = 0;
  std::uint64_t bytes = 0;

  friend bool operator==(const CodeRange&, const CodeRange&) = default;
};

// What was written of watched chunks: of one write, those that touch each other are one.
struct CodeWrite {
  RegionId region{};
  std::uint64_t offset = 0;
  std::uint64_t bytes = 0;
  WriteCause cause = WriteCause::kStore;

  friend bool operator==(const CodeWrite&, const CodeWrite&) = default;
};

// A moment in the history of all watched bytes.
struct CodeStamp {
  std::uint64_t value = 0;
};

class CodeWatcher {
 public:
  virtual ~CodeWatcher() = default;

  // Code may have changed: what was made of it is not to be run from the caller's next
  // access on. Comes on the thread that wrote, any one and several at a time; changes of
  // the map come on the thread that makes them, before its listeners are told. The same
  // write may be told in several calls.
  //
  // May call watch(), release() and the rest of CodeWatch, but add_watcher() and
  // remove_watcher(); may read memory. It must not wait for another vCPU, nor write to
  // what is watched; watch() waits for vCPUs in an engine, so it is for kUnmap and kRemap no
  // call to make: the map's lock is held.
  virtual void code_written(std::span<const CodeWrite> writes) noexcept = 0;

  // These whole pages are watched, or a line of them is reserved, from now on. When it
  // returns true, every store that the watcher's own code makes there (through a TLB entry,
  // say) looks at the page's mark. False where that could not be: watch() then fails, and
  // whoever was not asked yet is not. Comes on the thread that watches, which holds no lock
  // of this library unless it watches from within code_written() of a change of the map.
  virtual bool pages_guarded(std::span<const CodeRange>) noexcept { return true; }
  // Whether pages_guarded() waits for other threads: those that do not are asked first.
  // Needs:  the same at all times.
  virtual bool waits_for_threads() const noexcept { return false; }
};

// MemoryManager::code_watch() has it. Any thread may call.
class CodeWatch {
 public:
  static constexpr std::size_t kMaxWatchers = 32;

  explicit CodeWatch(internal::CodeBook& book) : book_(book) {}
  CodeWatch(const CodeWatch&) = delete;
  CodeWatch& operator=(const CodeWatch&) = delete;
  // Needs:  no call in progress. Whoever writes through a lease afterwards tells nobody.
  ~CodeWatch();

  // Errors:  kInvalidArgument   null, or added already
  //          kResourceExhausted kMaxWatchers
  absl::Status add_watcher(CodeWatcher* watcher);
  // When it returns, no call of `watcher` is in progress nor will one come. Of one that was
  // not added: nothing.
  // Needs:  not from a call of a watcher; this thread holds nothing that such a call waits
  //         for.
  void remove_watcher(CodeWatcher* watcher);

  // Counts one more user of every chunk that the ranges touch. What is read of them
  // afterwards is what they are until code_written() says otherwise. Changes of the map are
  // told from here on too: who found the ranges in a map looks, after this, whether it is
  // still the current one.
  //
  // Memory:  a write is visible to this thread when the call returns, or it is told. No
  //          writer pays a fence for that.
  // Errors:  kInvalidArgument     an empty range
  //          kNotFound            no such region
  //          kOutOfRange          not inside the region
  //          kFailedPrecondition  neither RAM nor ROM, an alias, or RAM that was added
  //                               without RamOptions::code_watch
  //          kResourceExhausted   no memory
  //          kUnimplemented       the host has no barrier for all threads of a process
  //          kUnavailable         it had one, and refuses it now
  //          kAborted             a watcher's pages_guarded() returned false
  //          After an error nothing is watched more than before.
  // Cost:    a lock; the first watch of a page also a barrier on every thread of the
  //          process, one for all ranges of the call. On a Zen 5, with release(): 70 ns in a
  //          page that is watched, else 0.4 us, 0.6 us beside a thread that runs.
  absl::StatusOr<CodeStamp> watch(std::span<const CodeRange> ranges);
  absl::StatusOr<CodeStamp> watch(RegionId region, std::uint64_t offset, std::uint64_t bytes) {
    const CodeRange range{region, offset, bytes};
    return watch({&range, 1});
  }

  // One user less of every chunk that the ranges touch. A chunk without a user is no longer
  // told.
  //
  // Errors:  those of watch() for the ranges; kFailedPrecondition where a chunk has no user.
  //          After an error nothing is released, but what the ranges name more than once. What
  //          a region had that was removed is gone with it (kNotFound): no release is needed.
  absl::Status release(std::span<const CodeRange> ranges);
  absl::Status release(RegionId region, std::uint64_t offset, std::uint64_t bytes) {
    const CodeRange range{region, offset, bytes};
    return release({&range, 1});
  }

  // Whether some chunk of the ranges was told since `stamp`, or is not watched any more, or
  // the map has changed how their region is seen. Asked after the translation stands where
  // code_written() finds it: a write that this misses is told later.
  bool written_since(CodeStamp stamp, std::span<const CodeRange> ranges) const;
  // Now. For who translates under a watch that exists already, before the code is read.
  CodeStamp now() const;

  // For a writer that this library does not see: read(2) into guest memory, io_uring, a
  // process that shares it, a restored snapshot. After the bytes; it marks them dirty too.
  //
  // Errors:  those of watch() for the range.
  absl::Status written(RegionId region, std::uint64_t offset, std::uint64_t bytes,
                       WriteCause cause = WriteCause::kHost);

  // False where there is no such region.
  bool is_watched(RegionId region, std::uint64_t offset) const;

 private:
  internal::CodeBook& book_;
};

}  // namespace vm_mem

#endif  // VM_MEM_CODE_WATCH_H_
