// Which 4 KiB pages of a RAM region were written: one byte a page, set after the
// data. Marks accumulate for the life of the region.
#ifndef VM_MEM_DIRTY_LOG_H_
#define VM_MEM_DIRTY_LOG_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>

namespace vm_mem {

inline constexpr std::uint64_t kDirtyPageBytes = 4096;

class DirtyLog {
 public:
  // Units:   `bytes` is the size of the region.
  // Errors:  std::bad_alloc where the host refuses.
  // Cost:    one byte of host memory a page, demand-paged.
  explicit DirtyLog(std::uint64_t bytes);

  // Marks every page that [offset, offset + bytes) touches.
  //
  // Needs:   the range inside the region.
  // Memory:  call it after the bytes are stored. A page that is already marked
  //          is only read (load, test, store), so that writers do not fight over
  //          its line.
  // Cost:    one load a page, and one store at its first mark.
  void mark(std::uint64_t offset, std::uint64_t bytes);

  bool is_dirty(std::uint64_t offset) const;
  std::uint64_t dirty_page_count() const;
  std::uint64_t page_count() const { return page_count_; }

 private:
  struct Free {
    void operator()(std::atomic<std::uint8_t>* pages) const { std::free(pages); }
  };

  std::uint64_t page_count_;
  std::unique_ptr<std::atomic<std::uint8_t>[], Free> pages_;
};

}  // namespace vm_mem

#endif  // VM_MEM_DIRTY_LOG_H_
