#include "vm_mem/internal/thread_index.h"

#include <atomic>

namespace vm_mem::internal {

std::size_t thread_index() {
  static std::atomic<std::size_t> next_index{0};
  thread_local const std::size_t index = next_index.fetch_add(1, std::memory_order_relaxed);
  return index;
}

}  // namespace vm_mem::internal
