// RAM whose bytes are still somewhere else, or were lost there, and who knows of them.
#ifndef VM_MEM_INTERNAL_ABSENT_PAGES_H_
#define VM_MEM_INTERNAL_ABSENT_PAGES_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <utility>

#include "absl/status/status.h"

namespace vm_mem::internal {

struct Region;

// Accesses bring pages by themselves. This is for what is none of this process's: a system
// call that is given a pointer, pages that are given back to the host.
class AbsentPages {
 public:
  virtual ~AbsentPages() = default;

  // Whether pages are still to come. It is not the end of this object where some were lost.
  virtual bool is_bringing() const = 0;

  // Brings what is absent of [offset, offset + bytes) of the region's memory.
  //
  // Errors:  kDataLoss, kUnavailable: some of it cannot be had
  virtual absl::Status bring(const Region& region, std::uint64_t offset, std::uint64_t bytes) = 0;

  // Nobody wants what is absent of the range any more, if `discard` says that the pages are
  // zero instead. It is called for parts of the range, and nothing comes between.
  using Discard = std::function<absl::Status(std::uint64_t offset, std::uint64_t bytes)>;
  virtual absl::Status give_up(const Region& region, std::uint64_t offset, std::uint64_t bytes,
                               const Discard& discard) = 0;
};

// Whose pages a region waits for, if for any. Any number of threads.
class AbsentPagesSlot {
 public:
  // Null where nothing is absent. Cost: then one load.
  std::shared_ptr<AbsentPages> get() const {
    if (!any_.load(std::memory_order_acquire)) return nullptr;
    const std::lock_guard lock(mutex_);
    return pages_;
  }
  bool is_bringing() const {
    const std::shared_ptr<AbsentPages> pages = get();
    return pages != nullptr && pages->is_bringing();
  }
  void set(std::shared_ptr<AbsentPages> pages) {  // null: nobody any more
    const std::lock_guard lock(mutex_);
    any_.store(pages != nullptr, std::memory_order_release);
    std::swap(pages, pages_);  // what was there goes after the lock
  }

 private:
  std::atomic<bool> any_{false};
  mutable std::mutex mutex_;
  std::shared_ptr<AbsentPages> pages_;
};

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_ABSENT_PAGES_H_
