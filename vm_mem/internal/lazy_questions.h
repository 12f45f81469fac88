// How a thread in a signal handler asks another one what it may not do itself.
#ifndef VM_MEM_INTERNAL_LAZY_QUESTIONS_H_
#define VM_MEM_INTERNAL_LAZY_QUESTIONS_H_

#include <atomic>
#include <cstdint>
#include <utility>

#include "absl/status/statusor.h"
#include "vm_mem/internal/futex.h"
#include "vm_mem/internal/host_memory_fd.h"
#include "vm_mem/lazy_restore.h"

namespace vm_mem::internal {

// Why a page cannot be had.
struct PageFailure {
  enum class Kind : std::uint8_t {
    kMismatch,   // it is not what its checksum says
    kEndOfFile,  // the file ends before
    kNotRead,    // the host cannot read it
    kNotPlaced,  // the host has no memory for it
  };

  std::uint64_t page = 0;
  std::uint32_t file = 0;
  std::uint64_t slot = 0;
  Kind kind = Kind::kMismatch;
  int error = 0;  // errno
};

// Lives on the stack of who asks.
class LazyQuestion {
 public:
  explicit LazyQuestion(const PageFailure& failure) : failure_(failure) {}

  const PageFailure& failure() const { return failure_; }
  void answer(LazyDamage damage) {
    answer_.store(1 + static_cast<std::uint32_t>(damage), std::memory_order_release);
    // It may be gone by now: waking nobody does no harm.
    futex_wake(answer_, 1);
  }
  LazyDamage wait() {
    for (;;) {
      const std::uint32_t answer = answer_.load(std::memory_order_acquire);
      if (answer != 0) return static_cast<LazyDamage>(answer - 1);
      futex_wait(answer_, 0);
    }
  }

 private:
  PageFailure failure_;
  std::atomic<std::uint32_t> answer_{0};
};

// A pipe of pointers. post() is async-signal-safe.
class LazyMail {
 public:
  // Errors:  kResourceExhausted
  static absl::StatusOr<LazyMail> make();

  // False where it is full, and nobody is to be waited for. Null: look what there is to do.
  bool post(LazyQuestion* question) const;
  // False where there is none.
  bool take(LazyQuestion*& question) const;
  int fd() const { return out_.get(); }

 private:
  LazyMail(HostFd out, HostFd in) : out_(std::move(out)), in_(std::move(in)) {}

  HostFd out_;
  HostFd in_;
};

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_LAZY_QUESTIONS_H_
