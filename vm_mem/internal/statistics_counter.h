// Counts bulk operations without making threads share a cache line.
#ifndef VM_MEM_INTERNAL_STATISTICS_COUNTER_H_
#define VM_MEM_INTERNAL_STATISTICS_COUNTER_H_

#include <array>
#include <atomic>
#include <cstdint>

#include "vm_mem/statistics.h"

namespace vm_mem::internal {

class StatisticsCounter {
 public:
  // One operation that moved `bytes`.
  void add(Route route, std::uint64_t bytes);
  Statistics sum() const;

 private:
  struct Cell {
    std::atomic<std::uint64_t> operations{0};
    std::atomic<std::uint64_t> bytes{0};
  };
  struct alignas(64) Stripe {
    std::array<std::array<Cell, kCopyPathCount>, kRouteCount> cells;
  };
  static constexpr std::size_t kStripeCount = 16;

  std::array<Stripe, kStripeCount> stripes_;
};

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_STATISTICS_COUNTER_H_
