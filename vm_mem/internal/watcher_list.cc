#include "vm_mem/internal/watcher_list.h"

#include <algorithm>
#include <thread>

#include "absl/strings/str_format.h"

namespace vm_mem::internal {

absl::Status WatcherList::add(CodeWatcher* watcher) {
  if (watcher == nullptr) return absl::InvalidArgumentError("no watcher");
  const std::lock_guard lock(mutex_);
  Slot* free = nullptr;
  for (Slot& slot : slots_) {
    CodeWatcher* const there = slot.watcher.load();
    if (there == watcher) return absl::InvalidArgumentError("the watcher was added before");
    if (there == nullptr && free == nullptr) free = &slot;
  }
  if (free == nullptr) {
    return absl::ResourceExhaustedError(
        absl::StrFormat("the limit of %d code watchers is reached", slots_.size()));
  }
  const auto number = static_cast<std::size_t>(free - slots_.data());
  used_.store(std::max(used_.load(), number + 1));
  free->watcher.store(watcher);
  return absl::OkStatus();
}

void WatcherList::remove(CodeWatcher* watcher) {
  const std::lock_guard lock(mutex_);
  for (Slot& slot : slots_) {
    if (watcher != nullptr && slot.watcher.load() == watcher) empty(slot);
  }
}

void WatcherList::remove_all() {
  const std::lock_guard lock(mutex_);
  for (Slot& slot : slots_) empty(slot);
}

void WatcherList::empty(Slot& slot) {
  slot.watcher.store(nullptr);
  while (slot.calls.load() != 0) std::this_thread::yield();
}

template <typename Call>
void WatcherList::for_each(Call call) noexcept {
  const std::size_t used = used_.load();
  for (std::size_t i = 0; i < used; ++i) {
    Slot& slot = slots_[i];
    slot.calls.fetch_add(1);
    if (CodeWatcher* const watcher = slot.watcher.load(); watcher != nullptr) call(*watcher);
    slot.calls.fetch_sub(1);
  }
}

void WatcherList::tell(std::span<const CodeWrite> writes) noexcept {
  for_each([writes](CodeWatcher& watcher) { watcher.code_written(writes); });
}

bool WatcherList::guard(std::span<const CodeRange> pages) noexcept {
  bool guarded = true;
  for (const bool waits : {false, true}) {
    for_each([&](CodeWatcher& watcher) {
      if (watcher.waits_for_threads() == waits) guarded = guarded && watcher.pages_guarded(pages);
    });
  }
  return guarded;
}

}  // namespace vm_mem::internal
