// Which bytes of a region's memory are leased.
#ifndef VM_MEM_INTERNAL_LEASE_WINDOWS_H_
#define VM_MEM_INTERNAL_LEASE_WINDOWS_H_

#include <cstdint>
#include <mutex>

namespace vm_mem::internal {

// What one lease holds of one region: [begin, end) of its memory.
struct LeaseWindow {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
  bool writes = false;
  LeaseWindow* before = nullptr;
  LeaseWindow* after = nullptr;
};

// A list through the windows themselves, so that a lease allocates nothing for it.
// Threads:  any number at a time.
class LeaseWindows {
 public:
  // Needs:  the window stays where it is until remove().
  void add(LeaseWindow& window);
  void remove(LeaseWindow& window);
  // How many have a byte of [begin, end).
  // Cost:  a step for each window of the region.
  std::uint64_t count(std::uint64_t begin, std::uint64_t end);
  // Calls `visit(begin, end)` for each that may be written through.
  // Needs:  `visit` does nothing about leases.
  template <typename Visit>
  void for_each_written(Visit visit) {
    const std::lock_guard lock(mutex_);
    for (const LeaseWindow* it = ring_.after; it != &ring_; it = it->after) {
      if (it->writes) visit(it->begin, it->end);
    }
  }

 private:
  std::mutex mutex_;
  LeaseWindow ring_{.before = &ring_, .after = &ring_};  // the list's beginning and end
};

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_LEASE_WINDOWS_H_
