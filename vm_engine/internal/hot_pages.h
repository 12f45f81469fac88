// Pages whose code is written again and again.
#ifndef VM_ENGINE_INTERNAL_HOT_PAGES_H_
#define VM_ENGINE_INTERNAL_HOT_PAGES_H_

#include <array>
#include <chrono>
#include <cstdint>
#include <mutex>

#include "vm_mem/code_watch.h"

namespace vm_engine::internal {

// Remembers some pages, by a hash: two that meet push each other out, and are then found
// hot later than they are.
class HotPages {
 public:
  using Clock = std::chrono::steady_clock;

  void set_limit(std::uint32_t writes, std::chrono::milliseconds window);

  // Counts a write; whether a page of it is hot by that.
  bool count(const vm_mem::CodeRange& written, Clock::time_point now);

 private:
  struct Page {
    vm_mem::RegionId region{};
    std::uint64_t page = ~std::uint64_t{0};
    std::uint32_t writes = 0;
    Clock::time_point since;
  };

  bool count(vm_mem::RegionId region, std::uint64_t page, Clock::time_point now);

  std::mutex mutex_;
  std::uint32_t limit_ = 8;
  std::chrono::milliseconds window_{100};
  std::array<Page, 256> pages_;
};

}  // namespace vm_engine::internal

#endif  // VM_ENGINE_INTERNAL_HOT_PAGES_H_
