#include "vm_mem/dirty_log.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <new>

#include "vm_mem/internal/dirty_kernels.h"

namespace vm_mem {
namespace {

using internal::active_dirty_kernels;
using internal::kMarkPadding;
using internal::kMarksPerWord;
using internal::kWordGroup;

static_assert(sizeof(std::atomic<std::uint8_t>) == 1 &&
              std::atomic<std::uint8_t>::is_always_lock_free);

std::uint64_t pages_of(std::uint64_t bytes) {
  return bytes / kDirtyPageBytes + (bytes % kDirtyPageBytes != 0 ? 1 : 0);
}

std::uint64_t round_up(std::uint64_t value, std::uint64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

}  // namespace

// mmap and not new[]: the log of a large region costs memory where marks fall alone, and
// begins at the start of a page.
DirtyLog::DirtyLog(std::uint64_t bytes)
    : page_count_(pages_of(bytes)),
      mapped_bytes_(round_up(page_count_, kWordGroup * kMarksPerWord) + kMarkPadding) {
  void* const mapped = mmap(nullptr, mapped_bytes_, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapped == MAP_FAILED) throw std::bad_alloc();
  bytes_ = static_cast<std::atomic<std::uint8_t>*>(mapped);
}

DirtyLog::~DirtyLog() { munmap(bytes_, mapped_bytes_); }

void DirtyLog::mark_first(std::uint64_t page) { bytes_[page].store(1, std::memory_order_release); }

void DirtyLog::mark_range(std::uint64_t first_page, std::uint64_t count) {
  active_dirty_kernels().set(marks() + first_page, count);
}

void DirtyLog::merge_bitmap(std::span<const std::uint64_t> words, std::uint64_t first_page) {
  if (first_page >= page_count_) return;
  const std::uint64_t whole =
      std::min<std::uint64_t>(words.size(), (page_count_ - first_page) / kMarksPerWord);
  active_dirty_kernels().expand(marks() + first_page, words.data(), whole);
  const std::uint64_t left = page_count_ - first_page - whole * kMarksPerWord;
  if (whole == words.size() || left == 0) return;
  for (std::uint64_t ones = words[whole]; ones != 0; ones &= ones - 1) {
    const auto bit = static_cast<std::uint64_t>(std::countr_zero(ones));
    if (bit >= left) break;
    mark_page(first_page + whole * kMarksPerWord + bit);
  }
}

std::size_t DirtyLog::merge_pages(std::span<const std::uint64_t> pages) {
  std::size_t inside = 0;
  for (const std::uint64_t page : pages) {
    if (page >= page_count_) continue;
    mark_page(page);
    ++inside;
  }
  return inside;
}

bool DirtyLog::is_dirty(std::uint64_t offset) const {
  return bytes_[offset / kDirtyPageBytes].load(std::memory_order_acquire) != 0;
}

std::uint64_t DirtyLog::dirty_page_count(std::uint64_t pages) const {
  const std::uint64_t whole = pages / (kWordGroup * kMarksPerWord) * kWordGroup;
  std::uint64_t count = active_dirty_kernels().count(marks(), whole);
  for (std::uint64_t page = whole * kMarksPerWord; page < pages; ++page) {
    if (bytes_[page].load(std::memory_order_acquire) != 0) ++count;
  }
  return count;
}

std::size_t DirtyLog::word_count() const { return (mapped_bytes_ - kMarkPadding) / kMarksPerWord; }

}  // namespace vm_mem
