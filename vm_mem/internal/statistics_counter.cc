#include "vm_mem/internal/statistics_counter.h"

#include "vm_mem/internal/copy_path.h"
#include "vm_mem/internal/thread_index.h"

namespace vm_mem::internal {

void StatisticsCounter::add(Route route, std::uint64_t bytes) {
  Stripe& stripe = stripes_[thread_index() % kStripeCount];
  const auto path = static_cast<std::size_t>(copy_path(bytes));
  Cell& cell = stripe.cells[static_cast<std::size_t>(route)][path];
  cell.operations.fetch_add(1, std::memory_order_relaxed);
  cell.bytes.fetch_add(bytes, std::memory_order_relaxed);
}

Statistics StatisticsCounter::sum() const {
  Statistics total;
  for (const Stripe& stripe : stripes_) {
    for (std::size_t route = 0; route < kRouteCount; ++route) {
      for (std::size_t path = 0; path < kCopyPathCount; ++path) {
        const Cell& cell = stripe.cells[route][path];
        PathCount& count = total.counts[route][path];
        count.operations += cell.operations.load(std::memory_order_relaxed);
        count.bytes += cell.bytes.load(std::memory_order_relaxed);
      }
    }
  }
  return total;
}

}  // namespace vm_mem::internal
