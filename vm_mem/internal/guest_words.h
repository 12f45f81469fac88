// Copies of a few whole words to or from guest memory, in line. The contract is that of
// guest_copy.h.
#ifndef VM_MEM_INTERNAL_GUEST_WORDS_H_
#define VM_MEM_INTERNAL_GUEST_WORDS_H_

#include <cstddef>
#include <cstdint>

#include "vm_mem/internal/guest_pieces.h"
#include "vm_mem/internal/word_lanes.h"

namespace vm_mem::internal {

// Copies of one size, which take no branch on it.
class FewWords {
 public:
  static bool fits(std::size_t n) { return n % kGuestWord == 0 && n - kLeast <= kMost - kLeast; }

  // Needs:  fits(n).
  explicit FewWords(std::size_t n) : step_(((n - 1) & (2 * kLane)) / 2), last_(n - kLane) {}

  std::size_t count() const { return (last_ + kLane) / kGuestWord; }

  // Up to two lanes the four coincide in pairs.
  //
  // Needs:  whole words on the guest's side; disjoint ranges.
  __attribute__((no_sanitize("thread"))) void copy(std::byte* dst, const std::byte* src) const {
    const auto a = load_word<Lane>(src);
    const auto b = load_word<Lane>(src + step_);
    const auto c = load_word<Lane>(src + last_ - step_);
    const auto d = load_word<Lane>(src + last_);
    store_word(dst, a);
    store_word(dst + step_, b);
    store_word(dst + last_ - step_, c);
    store_word(dst + last_, d);
  }

 private:
  // What every supported CPU moves at once without tearing either word.
  using Lane = std::uint64_t __attribute__((vector_size(2 * kGuestWord)));
  static constexpr std::size_t kLane = sizeof(Lane);
  static constexpr std::size_t kLeast = kLane + 1;
  static constexpr std::size_t kMost = 4 * kLane;

  std::size_t step_;
  std::size_t last_;
};

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_GUEST_WORDS_H_
