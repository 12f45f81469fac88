// Of one region: which chunks of its pages hold code, and which lines are reserved.
//
// A writer that finds a mark with kMarkCode in it comes here after its bytes. Whether some
// of them lie in a watched chunk is one load a page, without a lock: most writes to such
// pages are to data beside the code. Only a hit takes the lock.
//
// Between a writer's bytes and its look at the chunks stands a fence, and another between
// setting a chunk and reading the code. So it is the page's bit alone that needs a barrier
// on all threads, once, until which the page is not settled.
#ifndef VM_MEM_INTERNAL_WRITE_WATCH_H_
#define VM_MEM_INTERNAL_WRITE_WATCH_H_

#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>

#include "absl/status/status.h"
#include "vm_mem/dirty_log.h"
#include "vm_mem/internal/watcher_list.h"

namespace vm_mem::internal {

class WriteWatch {
 public:
  // `region` is read when somebody is told, and outlives this object.
  // Errors:  std::bad_alloc.
  WriteWatch(const RegionId& region, std::uint64_t bytes, std::shared_ptr<WatcherList> watchers);
  WriteWatch(const WriteWatch&) = delete;
  WriteWatch& operator=(const WriteWatch&) = delete;
  ~WriteWatch();

  // --- For writers, after their bytes. `found` is what the marks of the range's pages had
  // besides kMarkDirty.
  void written(std::uint64_t offset, std::uint64_t bytes, std::uint8_t found,
               WriteCause cause) noexcept;

  // --- For translators. `log` is the region's, null for ROM: nobody writes to it.

  // One user more of the chunks of the range. True where some page is not settled yet: it is
  // to be guarded, then settle()d after a barrier, before the code is read.
  // Errors:  std::bad_alloc; nothing is done then.
  bool retain(std::uint64_t offset, std::uint64_t bytes, DirtyLog* log);
  // Needs:  the caller retains the range, and every thread has passed a barrier since.
  void settle(std::uint64_t offset, std::uint64_t bytes);
  // Whether every chunk of the range has a user.
  bool is_used(std::uint64_t offset, std::uint64_t bytes) const;
  // False where some chunk has no user; nothing is done then.
  bool release(std::uint64_t offset, std::uint64_t bytes, DirtyLog* log);

  // No page has a user.
  bool is_idle() const;
  // The map shows [offset, offset + bytes) otherwise.
  void moved(std::uint64_t offset, std::uint64_t bytes, WriteCause cause) noexcept;

  bool written_since(CodeStamp stamp, std::uint64_t offset, std::uint64_t bytes) const;
  bool is_watched(std::uint64_t offset) const;

  // --- Reservations, as DirtyLog's.
  LineReservation reserve(std::uint64_t offset, std::atomic<std::uint8_t>& mark);
  bool settle_line(LineReservation& reservation) noexcept;
  bool is_intact(const LineReservation& reservation) const {
    return version_of(reservation.offset).load(std::memory_order_acquire) == reservation.version;
  }
  void unreserve(const LineReservation& reservation, std::atomic<std::uint8_t>& mark);
  // Orders store-conditionals, and who comes and goes.
  std::mutex& lock_of(const LineReservation& reservation) {
    return lock_of(reservation.offset / kDirtyPageBytes);
  }
  void break_line(const LineReservation& reservation) {
    version_of(reservation.offset).fetch_add(1);
  }

 private:
  static constexpr std::size_t kChunks = kDirtyPageBytes / kCodeChunkBytes;
  // Lines this far apart share a version: to write to one breaks the reservation of the
  // other too.
  static constexpr std::size_t kVersions = 4096;
  static constexpr std::size_t kMostAtOnce = 32;

  // What writers look at, for every page.
  struct PageState {
    std::atomic<std::uint64_t> chunks;  // bit i: chunk i has a user
    std::atomic<std::uint32_t> reservations;
    // Who stores there looks at the mark, for as long as there are reservations.
    std::atomic<bool> lines_settled;
  };
  // Of a page with a user.
  struct Record {
    std::array<std::uint32_t, kChunks> users{};
    std::array<std::uint64_t, kChunks> stamps{};  // when it was last written
    bool settled = false;
  };
  struct Batch {
    std::array<CodeWrite, kMostAtOnce> writes;
    std::size_t count = 0;
  };

  bool touches_code(std::uint64_t begin, std::uint64_t end) const;
  void report(std::uint64_t begin, std::uint64_t end, WriteCause cause) noexcept;
  std::uint64_t gather(std::uint64_t begin, std::uint64_t end, WriteCause cause, Batch& batch);
  static bool append(const CodeWrite& write, Batch& batch);
  void break_lines(std::uint64_t begin, std::uint64_t end) noexcept;

  std::atomic<std::uint64_t>& version_of(std::uint64_t offset) const {
    return versions_[offset / kReservedLineBytes % kVersions];
  }
  std::mutex& lock_of(std::uint64_t page) { return page_locks_[page % page_locks_.size()]; }

  const RegionId& region_;
  std::shared_ptr<WatcherList> watchers_;
  std::uint64_t mapped_bytes_;
  void* mapped_;
  std::atomic<std::uint64_t>* versions_;  // in mapped_, as what follows
  PageState* pages_;

  mutable std::mutex mutex_;  // of what follows, and of setting and clearing chunks
  std::map<std::uint64_t, Record> records_;
  std::uint64_t moved_stamp_ = 0;

  std::array<std::mutex, 64> page_locks_;  // of the reservations in a page
};

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_WRITE_WATCH_H_
