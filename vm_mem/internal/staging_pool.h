// A few buffers that are there before they are needed, for signal handlers.
#ifndef VM_MEM_INTERNAL_STAGING_POOL_H_
#define VM_MEM_INTERNAL_STAGING_POOL_H_

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "absl/status/statusor.h"
#include "vm_mem/host_mapping.h"
#include "vm_mem/internal/futex.h"

namespace vm_mem::internal {

class StagingPool {
 public:
  static constexpr std::size_t kBufferBytes = std::size_t{256} << 10;
  static constexpr unsigned kBuffers = 8;

  // Errors:  of the host
  static absl::StatusOr<HostMapping> make_memory() {
    return HostMapping::anonymous(kBuffers * kBufferBytes, {.host = {.prefault_threads = 1}});
  }
  explicit StagingPool(HostMapping memory) : memory_(std::move(memory)) {}

  // One of the buffers while it lives; waits where all are taken. Async-signal-safe.
  // Needs:  signals are blocked.
  class Loan {
   public:
    explicit Loan(StagingPool& pool) : pool_(pool), number_(pool.take()) {}
    Loan(const Loan&) = delete;
    Loan& operator=(const Loan&) = delete;
    ~Loan() { pool_.give_back(number_); }
    std::span<std::byte> bytes() const {
      return pool_.memory_.bytes().subspan(number_ * kBufferBytes, kBufferBytes);
    }

   private:
    StagingPool& pool_;
    unsigned number_;
  };

 private:
  unsigned take() {
    std::uint32_t free = free_.load(std::memory_order_relaxed);
    for (;;) {
      if (free == 0) {
        waiting_.fetch_add(1);
        futex_wait(free_, 0);
        waiting_.fetch_sub(1);
        free = free_.load(std::memory_order_relaxed);
      } else if (free_.compare_exchange_weak(free, free & (free - 1), std::memory_order_acquire)) {
        return static_cast<unsigned>(std::countr_zero(free));
      }
    }
  }
  void give_back(unsigned number) {
    free_.fetch_or(1U << number);
    if (waiting_.load() != 0) futex_wake(free_, 1);
  }

  HostMapping memory_;
  std::atomic<std::uint32_t> free_{(1U << kBuffers) - 1};
  std::atomic<std::uint32_t> waiting_{0};
};

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_STAGING_POOL_H_
