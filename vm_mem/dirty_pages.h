// The pages of one region that were written, as a harvest found them: as runs and as a
// bitmap. Storage that is used again and again.
#ifndef VM_MEM_DIRTY_PAGES_H_
#define VM_MEM_DIRTY_PAGES_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "vm_mem/region_id.h"

namespace vm_mem {

namespace internal {
class DirtyBook;
struct DirtyKernels;
}  // namespace internal

// Somebody who harvests dirty pages at his own pace. Given by the manager, never reused.
enum class DirtyClient : std::uint64_t {};

// What a client is first told about the regions that exist.
enum class DirtyStart : std::uint8_t { kClean, kAllDirty };

// Consecutive pages.
// Units:  pages of 4096 bytes, counted from the beginning of the region.
struct DirtyRun {
  std::uint32_t first = 0;
  std::uint32_t end = 0;  // after the last one

  std::uint64_t page_count() const { return end - first; }
  friend bool operator==(const DirtyRun&, const DirtyRun&) = default;
};

// Not for several threads at a time. A second harvest of a region of the same size
// allocates nothing, nor does one with fewer runs.
class DirtyPages {
 public:
  // How many pages are dirty.
  std::uint64_t page_count() const { return page_count_; }
  // In ascending order, none empty, none touching the next.
  std::span<const DirtyRun> runs() const { return {runs_.get(), run_count_}; }
  // Bit p % 64 of word p / 64 is page p. Pages past the end of the region are 0.
  std::span<const std::uint64_t> words() const { return words_; }
  bool is_dirty(std::uint64_t page) const {
    return page / 64 < words_.size() && (words_[page / 64] >> page % 64 & 1) != 0;
  }

 private:
  friend class internal::DirtyBook;

  void clear();
  // Finds the runs of words_, which have page_count_ bits set.
  // Errors:  std::bad_alloc.
  void find_runs(const internal::DirtyKernels& kernels);

  std::vector<std::uint64_t> words_;
  std::unique_ptr<DirtyRun[]> runs_;
  std::size_t run_room_ = 0;
  std::size_t run_count_ = 0;
  std::uint64_t page_count_ = 0;
};

// One region's part of a harvest of all.
struct DirtyRegion {
  RegionId region{};
  DirtyPages pages;
};

}  // namespace vm_mem

#endif  // VM_MEM_DIRTY_PAGES_H_
