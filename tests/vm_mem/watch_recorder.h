// A manager with watchable RAM, and a watcher that keeps what it is told.
#ifndef TESTS_VM_MEM_WATCH_RECORDER_H_
#define TESTS_VM_MEM_WATCH_RECORDER_H_

#include <functional>
#include <mutex>
#include <ostream>
#include <span>
#include <utility>
#include <vector>

#include "vm_mem/code_watch.h"

namespace vm_mem {

inline void PrintTo(const CodeWrite& write, std::ostream* out) {
  *out << "region " << static_cast<std::uint64_t>(write.region) << " offset 0x" << std::hex
       << write.offset << " bytes 0x" << write.bytes << std::dec << " "
       << write_cause_name(write.cause);
}

}  // namespace vm_mem

namespace vm_test {

class WatchRecorder : public vm_mem::CodeWatcher {
 public:
  void code_written(std::span<const vm_mem::CodeWrite> writes) noexcept override {
    const std::lock_guard lock(mutex_);
    writes_.insert(writes_.end(), writes.begin(), writes.end());
  }
  bool pages_guarded(std::span<const vm_mem::CodeRange> pages) noexcept override {
    const std::lock_guard lock(mutex_);
    guarded_.insert(guarded_.end(), pages.begin(), pages.end());
    return true;
  }

  // Those since the last call.
  std::vector<vm_mem::CodeWrite> take() {
    const std::lock_guard lock(mutex_);
    return std::exchange(writes_, {});
  }
  std::vector<vm_mem::CodeRange> take_guarded() {
    const std::lock_guard lock(mutex_);
    return std::exchange(guarded_, {});
  }

 private:
  std::mutex mutex_;
  std::vector<vm_mem::CodeWrite> writes_;
  std::vector<vm_mem::CodeRange> guarded_;
};

// Does as `guard` says when pages are guarded.
class PageGuard : public vm_mem::CodeWatcher {
 public:
  explicit PageGuard(std::function<bool()> guard) : guard_(std::move(guard)) {}
  void code_written(std::span<const vm_mem::CodeWrite>) noexcept override {}
  bool pages_guarded(std::span<const vm_mem::CodeRange>) noexcept override { return guard_(); }

 private:
  const std::function<bool()> guard_;
};

}  // namespace vm_test

#endif  // TESTS_VM_MEM_WATCH_RECORDER_H_
