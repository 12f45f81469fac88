// Waiting that a signal handler may do.
#ifndef VM_MEM_INTERNAL_FUTEX_H_
#define VM_MEM_INTERNAL_FUTEX_H_

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>

namespace vm_mem::internal {

// Until somebody wakes; may return sooner. At once where `word` is not `seen`.
inline void futex_wait(std::atomic<std::uint32_t>& word, std::uint32_t seen) {
  syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, seen, nullptr, nullptr, 0);
}
inline void futex_wake(std::atomic<std::uint32_t>& word, int waiters) {
  syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, waiters, nullptr, nullptr, 0);
}

// Needs:  who holds it blocks signals: a handler that came between would wait for itself.
class FutexLock {
 public:
  void lock() {
    std::uint32_t free = kFree;
    if (state_.compare_exchange_strong(free, kHeld, std::memory_order_acquire)) return;
    while (state_.exchange(kAwaited, std::memory_order_acquire) != kFree) {
      futex_wait(state_, kAwaited);
    }
  }
  void unlock() {
    if (state_.exchange(kFree, std::memory_order_release) == kAwaited) futex_wake(state_, 1);
  }

 private:
  static constexpr std::uint32_t kFree = 0;
  static constexpr std::uint32_t kHeld = 1;
  static constexpr std::uint32_t kAwaited = 2;

  std::atomic<std::uint32_t> state_{kFree};
};

class FutexGuard {
 public:
  explicit FutexGuard(FutexLock& lock) : lock_(lock) { lock_.lock(); }
  FutexGuard(const FutexGuard&) = delete;
  FutexGuard& operator=(const FutexGuard&) = delete;
  ~FutexGuard() { lock_.unlock(); }

 private:
  FutexLock& lock_;
};

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_FUTEX_H_
