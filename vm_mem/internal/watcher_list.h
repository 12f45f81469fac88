// Those who are told of writes to watched code: a list that writers walk without a lock.
#ifndef VM_MEM_INTERNAL_WATCHER_LIST_H_
#define VM_MEM_INTERNAL_WATCHER_LIST_H_

#include <array>
#include <atomic>
#include <cstdint>
#include <mutex>
#include <span>

#include "absl/status/status.h"
#include "vm_mem/code_watch.h"

namespace vm_mem::internal {

// A caller counts itself in and then looks who is there; a remover takes the watcher away
// and then waits for the count. Both are sequentially consistent, so that one sees the
// other.
class WatcherList {
 public:
  // As the calls of CodeWatch that are named alike.
  absl::Status add(CodeWatcher* watcher);
  void remove(CodeWatcher* watcher);
  void remove_all();

  void tell(std::span<const CodeWrite> writes) noexcept;
  // Whether all did; nobody is asked after the first who did not. Who waits is asked last:
  // an arena over an engine's memory closes its pages at once, and a vCPU that stores there
  // comes by for it, before that is waited for.
  [[nodiscard]] bool guard(std::span<const CodeRange> pages) noexcept;

  // Of the writes that were told. A write takes its number before it is told.
  std::uint64_t next_stamp() { return stamp_.fetch_add(1) + 1; }
  std::uint64_t last_stamp() const { return stamp_.load(); }

 private:
  struct alignas(64) Slot {
    std::atomic<CodeWatcher*> watcher{nullptr};
    std::atomic<std::uint32_t> calls{0};
  };

  template <typename Call>
  void for_each(Call call) noexcept;
  static void empty(Slot& slot);

  std::mutex mutex_;  // of who is added and removed
  std::array<Slot, CodeWatch::kMaxWatchers> slots_;
  std::atomic<std::size_t> used_{0};  // slots from here on were never taken
  std::atomic<std::uint64_t> stamp_{0};
};

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_WATCHER_LIST_H_
