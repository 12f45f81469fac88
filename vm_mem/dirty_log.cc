#include "vm_mem/dirty_log.h"

#include <new>

namespace vm_mem {

static_assert(sizeof(std::atomic<std::uint8_t>) == 1 &&
              std::atomic<std::uint8_t>::is_always_lock_free);

// calloc and not new[]: the zero pages of a large log stay untouched until marked.
DirtyLog::DirtyLog(std::uint64_t bytes)
    : page_count_((bytes + kDirtyPageBytes - 1) / kDirtyPageBytes),
      pages_(static_cast<std::atomic<std::uint8_t>*>(std::calloc(page_count_, 1))) {
  if (pages_ == nullptr && page_count_ != 0) throw std::bad_alloc();
}

void DirtyLog::mark(std::uint64_t offset, std::uint64_t bytes) {
  if (bytes == 0) return;
  const std::uint64_t last = (offset + bytes - 1) / kDirtyPageBytes;
  for (std::uint64_t page = offset / kDirtyPageBytes; page <= last; ++page) {
    if (pages_[page].load(std::memory_order_relaxed) == 0) {
      pages_[page].store(1, std::memory_order_release);
    }
  }
}

bool DirtyLog::is_dirty(std::uint64_t offset) const {
  return pages_[offset / kDirtyPageBytes].load(std::memory_order_acquire) != 0;
}

std::uint64_t DirtyLog::dirty_page_count() const {
  std::uint64_t count = 0;
  for (std::uint64_t page = 0; page < page_count_; ++page) {
    if (pages_[page].load(std::memory_order_acquire) != 0) ++count;
  }
  return count;
}

}  // namespace vm_mem
