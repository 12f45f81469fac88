// Which 4 KiB pages of a RAM region were written: one byte a page, set after the data.
//
// Marks are taken away by the manager's harvest alone (MemoryManager::harvest_dirty),
// which knows how to do it while writers run.
#ifndef VM_MEM_DIRTY_LOG_H_
#define VM_MEM_DIRTY_LOG_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

namespace vm_mem {

namespace internal {
class DirtyBook;
}

inline constexpr std::uint64_t kDirtyPageBytes = 4096;

class DirtyLog {
 public:
  // Units:   `bytes` is the size of the region.
  // Errors:  std::bad_alloc where the host refuses.
  // Cost:    one byte of host memory a page, given by the host when a mark falls there.
  explicit DirtyLog(std::uint64_t bytes);
  ~DirtyLog();

  DirtyLog(const DirtyLog&) = delete;
  DirtyLog& operator=(const DirtyLog&) = delete;

  // Marks every page that [offset, offset + bytes) touches.
  //
  // Needs:   the range inside the region; the bytes are stored already.
  // Memory:  a page that is already marked is only read (load, test, store), so that
  //          writers do not fight over its line.
  // Cost:    one load a page, and one store at its first mark; vectors for long ranges.
  void mark(std::uint64_t offset, std::uint64_t bytes) {
    if (bytes == 0) return;
    const std::uint64_t first = offset / kDirtyPageBytes;
    const std::uint64_t last = (offset + bytes - 1) / kDirtyPageBytes;
    if (last - first >= kLongRange) return mark_range(first, last - first + 1);
    for (std::uint64_t page = first; page <= last; ++page) mark_page(page);
  }

  // The same for one page. In line, because it follows every store of a vCPU.
  void mark_page(std::uint64_t page) {
    // The compiler must not look at the mark before the data is stored. The CPU may: the
    // harvest's barrier answers for that.
    std::atomic_signal_fence(std::memory_order_seq_cst);
    if (bytes_[page].load(std::memory_order_relaxed) == 0) [[unlikely]]
      mark_first(page);
  }

  // The same for `count` pages, by vectors.
  void mark_range(std::uint64_t first_page, std::uint64_t count);

  // Marks a page whose byte was seen to be 0.
  void mark_first(std::uint64_t page);

  // The bytes themselves, at a multiple of 64, for code that marks in line: page p is
  // marked where bytes()[p] is not 0. After storing data, with nothing that the compiler
  // could move the data past, it loads the byte, and calls mark_first() where that is 0.
  // It must be a thread of this process; it never stores 0.
  std::atomic<std::uint8_t>* bytes() { return bytes_; }

  // --- Marks that somebody else has collected. All after the data.

  // Marks the pages whose bit is set: bit i of words[w] is page first_page + 64 * w + i.
  // Bits past the end of the region are left out. (KVM_GET_DIRTY_LOG.)
  // Needs:   first_page a multiple of 64.
  void merge_bitmap(std::span<const std::uint64_t> words, std::uint64_t first_page = 0);
  // Marks the pages and returns how many of them lie inside the region; the others are
  // left out. (KVM's dirty ring: collect the entries, reset the rings, then call this.)
  std::size_t merge_pages(std::span<const std::uint64_t> pages);

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

  std::byte* marks() const { return reinterpret_cast<std::byte*>(bytes_); }
  // 64-bit words of a bitmap of all pages, rounded up to what the loops take.
  std::size_t word_count() const;

  std::uint64_t page_count_;
  std::uint64_t mapped_bytes_;
  std::atomic<std::uint8_t>* bytes_;
};

}  // namespace vm_mem

#endif  // VM_MEM_DIRTY_LOG_H_
