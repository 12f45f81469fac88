#include "vm_mem/internal/cpu_features.h"

#include <atomic>

namespace vm_mem::internal {
namespace {

// Eight bytes, so that one load fetches all of it.
struct alignas(8) CachedFeatures {
  bool known = false;
  CpuFeatures features;
};
static_assert(std::atomic<CachedFeatures>::is_always_lock_free);

// Threads that come at the same time all ask the CPU, and get the same answer.
constinit std::atomic<CachedFeatures> cached{};

}  // namespace

CpuFeatures cpu_features() {
  CachedFeatures seen = cached.load(std::memory_order_relaxed);
  if (!seen.known) {
    seen = {true, detect_cpu_features()};
    cached.store(seen, std::memory_order_relaxed);
  }
  return seen.features;
}

}  // namespace vm_mem::internal
