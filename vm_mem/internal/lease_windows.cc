#include "vm_mem/internal/lease_windows.h"

namespace vm_mem::internal {

void LeaseWindows::add(LeaseWindow& window) {
  const std::lock_guard lock(mutex_);
  window.before = &ring_;
  window.after = ring_.after;
  window.after->before = &window;
  ring_.after = &window;
}

void LeaseWindows::remove(LeaseWindow& window) {
  const std::lock_guard lock(mutex_);
  window.before->after = window.after;
  window.after->before = window.before;
}

std::uint64_t LeaseWindows::count(std::uint64_t begin, std::uint64_t end) {
  const std::lock_guard lock(mutex_);
  std::uint64_t found = 0;
  for (const LeaseWindow* it = ring_.after; it != &ring_; it = it->after) {
    if (it->begin < end && begin < it->end) ++found;
  }
  return found;
}

}  // namespace vm_mem::internal
