// Which pages a vCPU may have open for direct stores, for other threads to look at.
#ifndef VM_ENGINE_INTERNAL_OPEN_PAGES_H_
#define VM_ENGINE_INTERNAL_OPEN_PAGES_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "vm_mem/dirty_log.h"

namespace vm_engine::internal {

// By their numbers in their regions, some thousands apart being one: who asks for a page
// that is not open may wait for another that is.
//
// A vCPU notes a page, then looks whether it is guarded. Who guards pages does so, then
// looks whether they are noted. Of these one sees the other's.
class OpenPages {
 public:
  static constexpr std::size_t kBuckets = 4096;

  static std::size_t bucket_of(std::uint64_t region_offset) {
    return region_offset / vm_mem::kDirtyPageBytes % kBuckets;
  }

  // --- The vCPU's own thread.

  void note(std::size_t bucket) {
    std::atomic<std::uint64_t>& word = words_[bucket / 64];
    const std::uint64_t bit = std::uint64_t{1} << bucket % 64;
    if ((word.load(std::memory_order_relaxed) & bit) == 0) {
      word.fetch_or(bit, std::memory_order_seq_cst);
      __sync_synchronize();
    }
  }
  // What is open by now, of what was noted.
  using Words = std::array<std::uint64_t, kBuckets / 64>;
  static void add(std::size_t bucket, Words& words) {
    words[bucket / 64] |= std::uint64_t{1} << bucket % 64;
  }
  void keep(const Words& words) {
    for (std::size_t i = 0; i < words.size(); ++i) {
      words_[i].store(words[i], std::memory_order_release);
    }
  }

  // --- Any thread.

  bool may_hold_one_of(const Words& words) const {
    std::uint64_t held = 0;
    for (std::size_t i = 0; i < words.size(); ++i) {
      held |= words_[i].load(std::memory_order_acquire) & words[i];
    }
    return held != 0;
  }

 private:
  std::array<std::atomic<std::uint64_t>, kBuckets / 64> words_{};
};

}  // namespace vm_engine::internal

#endif  // VM_ENGINE_INTERNAL_OPEN_PAGES_H_
