// A bit for each page, which any thread and any signal handler may look at.
#ifndef VM_MEM_INTERNAL_PAGE_BITS_H_
#define VM_MEM_INTERNAL_PAGE_BITS_H_

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstdint>
#include <vector>

namespace vm_mem::internal {

class PageBits {
 public:
  explicit PageBits(std::uint64_t pages) : words_(pages / 64 + 1) {}

  bool has(std::uint64_t page) const {
    return (words_[page / 64].load(std::memory_order_acquire) >> page % 64 & 1) != 0;
  }
  void set(std::uint64_t first, std::uint64_t end) {
    for_each_word(first, end, [this](std::uint64_t word, std::uint64_t mask) {
      words_[word].fetch_or(mask, std::memory_order_release);
    });
  }
  void clear(std::uint64_t first, std::uint64_t end) {
    for_each_word(first, end, [this](std::uint64_t word, std::uint64_t mask) {
      words_[word].fetch_and(~mask, std::memory_order_release);
    });
  }
  // The first page from `first` on that is set, or that is not; `end` where there is none.
  std::uint64_t next_set(std::uint64_t first, std::uint64_t end) const {
    return next(first, end, 0);
  }
  std::uint64_t next_clear(std::uint64_t first, std::uint64_t end) const {
    return next(first, end, ~std::uint64_t{0});
  }

 private:
  template <typename Visit>
  static void for_each_word(std::uint64_t first, std::uint64_t end, Visit visit) {
    while (first < end) {
      const std::uint64_t count = std::min(end - first, 64 - first % 64);
      visit(first / 64, ~std::uint64_t{0} >> (64 - count) << first % 64);
      first += count;
    }
  }

  std::uint64_t next(std::uint64_t first, std::uint64_t end, std::uint64_t flip) const {
    while (first < end) {
      const std::uint64_t word = words_[first / 64].load(std::memory_order_acquire) ^ flip;
      const std::uint64_t rest = word >> first % 64;
      if (rest != 0) {
        return std::min(end, first + static_cast<unsigned>(std::countr_zero(rest)));
      }
      first += 64 - first % 64;
    }
    return end;
  }

  std::vector<std::atomic<std::uint64_t>> words_;
};

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_PAGE_BITS_H_
