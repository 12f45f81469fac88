// Which 4 KiB pages of a RAM region were written: one byte a page, set after the data.
// The same byte says whether somebody wants to be told of each write to the page.
//
// Dirty marks are taken away by the manager's harvest alone (MemoryManager::harvest_dirty),
// which knows how to do it while writers run.
#ifndef VM_MEM_DIRTY_LOG_H_
#define VM_MEM_DIRTY_LOG_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <span>

#include "vm_mem/line_reservation.h"
#include "vm_mem/write_cause.h"

namespace vm_mem {

namespace internal {
class DirtyBook;
class WriteWatch;
}  // namespace internal

inline constexpr std::uint64_t kDirtyPageBytes = 4096;

// The bits of a page's mark. A writer is done where it finds kMarkDirty and no other: with
// one of the others it has somebody to tell, each time.
inline constexpr std::uint8_t kMarkDirty = 1;
inline constexpr std::uint8_t kMarkCode = 2;      // some of its bytes are watched: CodeWatch
inline constexpr std::uint8_t kMarkReserved = 4;  // some of its lines are: reserve()

class DirtyLog {
 public:
  // Units:   `bytes` is the size of the region.
  // Needs:   `watch`, of those who are told of writes, outlives this object; null: there
  //          are none.
  // Errors:  std::bad_alloc where the host refuses.
  // Cost:    one byte of host memory a page, given by the host when a mark falls there.
  explicit DirtyLog(std::uint64_t bytes, internal::WriteWatch* watch = nullptr);
  ~DirtyLog();

  DirtyLog(const DirtyLog&) = delete;
  DirtyLog& operator=(const DirtyLog&) = delete;

  // Marks every page that [offset, offset + bytes) touches, and tells who watches some of
  // it, or holds a reservation there, that it was written.
  //
  // Needs:   the range inside the region; the bytes are stored already.
  // Memory:  a page that is already marked is only read (load, test, store), so that
  //          writers do not fight over its line.
  // Cost:    one load a page, and one store at its first mark; vectors for long ranges. A
  //          page that is watched: some 10 ns a write, and whatever those take who are told.
  void mark(std::uint64_t offset, std::uint64_t bytes, WriteCause cause = WriteCause::kHost) {
    if (bytes == 0) return;
    const std::uint64_t first = offset / kDirtyPageBytes;
    const std::uint64_t last = (offset + bytes - 1) / kDirtyPageBytes;
    if (last - first >= kLongRange) return mark_long(offset, bytes, cause);
    for (std::uint64_t page = first; page <= last; ++page) {
      if (!is_marked(page)) [[unlikely]]
        return mark_short(offset, bytes, cause);
    }
  }

  // The same for all of one page. In line, because it follows every store of a vCPU.
  void mark_page(std::uint64_t page, WriteCause cause = WriteCause::kHost) {
    if (!is_marked(page)) [[unlikely]]
      mark_first(page, cause);
  }

  // The same for `count` pages, by vectors.
  void mark_range(std::uint64_t first_page, std::uint64_t count,
                  WriteCause cause = WriteCause::kHost);

  // Marks a page whose byte was seen not to be kMarkDirty.
  void mark_first(std::uint64_t page, WriteCause cause = WriteCause::kHost);

  // The bytes themselves, at a multiple of 64, for code that marks in line. After storing
  // data, with nothing that the compiler could move the data past, it loads the byte, and
  // calls mark() for what it stored where that is not kMarkDirty. It must be a thread of
  // this process; it never stores to a byte.
  std::atomic<std::uint8_t>* bytes() { return bytes_; }

  // Whether each store to the page is to be told: it must not be open for direct stores.
  // Memory:  who opens it looks at this afterwards, and the other way round who watches it
  //          or reserves a line has CodeWatcher::pages_guarded() called.
  bool is_guarded(std::uint64_t page) const {
    return (bytes_[page].load(std::memory_order_relaxed) & (kMarkCode | kMarkReserved)) != 0;
  }
  // Whether those exist that watch() and reserve() are for.
  bool is_watchable() const { return watch_ != nullptr; }

  // --- Exclusive access (LR/SC, LDXR/STXR). A store-conditional is a compare_exchange of
  // the value that was loaded, where the reservation is intact. Whatever is marked of the
  // line between the two breaks it, whoever wrote it, and so does another store-conditional.
  // So a write between them goes unnoticed only if it is a plain store or one atomic
  // operation, leaves the value that was loaded, and its mark is yet to come, as a store's in
  // a CPU's buffer is.
  //
  // Needs:  is_watchable(); the offset inside the region.
  // Cost:   reserve(), unreserve(): a lock of some pages; 50 ns in all (Zen 5). Meanwhile
  //         every store to the page costs what one beside watched code does.

  // Before the value is loaded.
  LineReservation reserve(std::uint64_t offset);
  // Where the reservation is not settled: makes everybody look at marks who stores to the
  // page without (CodeWatcher::pages_guarded()). The reservation is intact afterwards. False
  // where somebody could not: it is good for unreserve() alone then.
  [[nodiscard]] bool settle(LineReservation& reservation) noexcept;
  // After it was loaded, before the store.
  bool is_intact(const LineReservation& reservation) const;
  // Where the reservation is intact calls `store`, which returns whether it stored, and breaks
  // all reservations of the line if it did; returns the same. Of two store-conditionals the
  // second sees the whole of the first. The store is marked afterwards, as any other.
  template <typename Store>
  bool store_if_intact(const LineReservation& reservation, Store store) {
    const std::lock_guard lock(lock_of(reservation));
    if (!is_intact(reservation) || !store()) return false;
    break_line(reservation);
    return true;
  }
  // Once for each reserve(), after the store or without one.
  void unreserve(const LineReservation& reservation);

  // --- Marks that somebody else has collected. All after the data.

  // Marks the pages whose bit is set: bit i of words[w] is page first_page + 64 * w + i.
  // Bits past the end of the region are left out. (KVM_GET_DIRTY_LOG.)
  // Needs:   first_page a multiple of 64.
  void merge_bitmap(std::span<const std::uint64_t> words, std::uint64_t first_page = 0,
                    WriteCause cause = WriteCause::kHost);
  // Marks the pages and returns how many of them lie inside the region; the others are
  // left out. (KVM's dirty ring: collect the entries, reset the rings, then call this.)
  std::size_t merge_pages(std::span<const std::uint64_t> pages,
                          WriteCause cause = WriteCause::kHost);

  bool is_dirty(std::uint64_t offset) const;
  // Of the pages that no harvest has taken yet.
  std::uint64_t dirty_page_count() const { return dirty_page_count(page_count_); }
  // Of those among the first `pages`, which are no more than page_count().
  std::uint64_t dirty_page_count(std::uint64_t pages) const;
  std::uint64_t page_count() const { return page_count_; }

 private:
  friend class internal::DirtyBook;

  // From this many pages after the first on, vectors are worth their call.
  static constexpr std::uint64_t kLongRange = 8;

  bool is_marked(std::uint64_t page) const {
    // The compiler must not look at the mark before the data is stored. The CPU may: the
    // barrier of who harvests or watches answers for that.
    std::atomic_signal_fence(std::memory_order_seq_cst);
    return bytes_[page].load(std::memory_order_relaxed) == kMarkDirty;
  }
  // Not in line: what mark() does where some page is not marked, or there are many.
  void mark_short(std::uint64_t offset, std::uint64_t bytes, WriteCause cause);
  void mark_long(std::uint64_t offset, std::uint64_t bytes, WriteCause cause);
  std::mutex& lock_of(const LineReservation& reservation);
  void break_line(const LineReservation& reservation);
  // Sets the dirty bit, and returns the others.
  std::uint8_t set_dirty(std::uint64_t page);
  std::uint8_t set_dirty_range(std::uint64_t first_page, std::uint64_t count);

  // For harvests. Moves the marks into `words`, a multiple of what the loops take, and
  // returns how many there were.
  std::uint64_t collect(std::span<std::uint64_t> words);
  // Marks again what was collected, from a page on: no write to tell of.
  void restore(std::span<const std::uint64_t> words, std::uint64_t first_page);

  std::byte* marks() const { return reinterpret_cast<std::byte*>(bytes_); }
  // 64-bit words of a bitmap of all pages, rounded up to what the loops take.
  std::size_t word_count() const;

  std::uint64_t page_count_;
  std::uint64_t mapped_bytes_;
  std::atomic<std::uint8_t>* bytes_;
  internal::WriteWatch* watch_;  // null: nobody is told, and bytes are 0 or kMarkDirty
};

}  // namespace vm_mem

#endif  // VM_MEM_DIRTY_LOG_H_
