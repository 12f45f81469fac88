#include "vm_mem/internal/region.h"

#include <algorithm>
#include <utility>

#include "vm_mem/internal/fault_ranges.h"

namespace vm_mem::internal {

void Departure::signal() {
  const std::lock_guard lock(mutex_);
  happened_ = true;
  changed_.notify_all();
}

void Departure::wait() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return happened_; });
}

bool Departure::has_happened() {
  const std::lock_guard lock(mutex_);
  return happened_;
}

bool Departure::wait_for(std::chrono::nanoseconds timeout) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, std::min(timeout, kLongestWait), [this] { return happened_; });
}

Region::~Region() {
  if (!zero_pages.empty()) unregister_fault_range(zero_pages);
  mapping.reset();
  delete dirty_log.load(std::memory_order_relaxed);
  delete write_watch.load(std::memory_order_relaxed);
  departure->signal();
}

void Region::set_absent(std::shared_ptr<AbsentPages> pages) {
  if (!zero_pages.empty()) suspend_fault_range(zero_pages, pages != nullptr);
  absent.set(std::move(pages));
}

void Region::make_dirty_log() {
  if (dirty_log.load(std::memory_order_relaxed) != nullptr) return;
  dirty_log.store(new DirtyLog(capacity, write_watch.load(std::memory_order_relaxed)),
                  std::memory_order_release);
}

void Region::make_write_watch(std::shared_ptr<WatcherList> watchers) {
  if (write_watch.load(std::memory_order_relaxed) != nullptr) return;
  write_watch.store(new WriteWatch(id, capacity, std::move(watchers)), std::memory_order_release);
}

}  // namespace vm_mem::internal
