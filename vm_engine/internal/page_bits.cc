#include "vm_engine/internal/page_bits.h"

#include <algorithm>
#include <bit>

namespace vm_engine::internal {

PageBits::PageBits(std::uint64_t pages, bool value)
    : words_((pages + 63) / 64, value ? ~std::uint64_t{0} : 0),
      pages_(pages),
      runs_(pages == 0 ? 0 : 1),
      ones_(value ? pages : 0) {}

// From the edge before `first` to the one after the last.
std::uint64_t PageBits::edges(std::uint64_t first, std::uint64_t count) const {
  std::uint64_t found = 0;
  for (std::uint64_t page = first; page <= first + count; ++page) found += is_edge(page) ? 1u : 0u;
  return found;
}

void PageBits::set(std::uint64_t page, bool value) {
  if (test(page) == value) return;
  words_[page / 64] ^= std::uint64_t{1} << page % 64;
  ones_ = value ? ones_ + 1 : ones_ - 1;
}

void PageBits::assign(std::uint64_t first, std::uint64_t count, bool value) {
  if (first == 0 && count == pages_) {
    std::fill(words_.begin(), words_.end(), value ? ~std::uint64_t{0} : 0);
    runs_ = pages_ == 0 ? 0 : 1;
    ones_ = value ? pages_ : 0;
    return;
  }
  const std::uint64_t before = edges(first, count);
  for (std::uint64_t page = first; page < first + count; ++page) set(page, value);
  runs_ = runs_ - before + edges(first, count);
}

std::uint64_t PageBits::next(std::uint64_t page, std::uint64_t inverted) const {
  while (page < pages_) {
    const std::uint64_t rest = (words_[page / 64] ^ inverted) >> page % 64;
    if (rest != 0) {
      return std::min(pages_, page + static_cast<std::uint64_t>(std::countr_zero(rest)));
    }
    page = (page / 64 + 1) * 64;
  }
  return pages_;
}

PageBits PageBits::part(std::uint64_t first, std::uint64_t count) const {
  PageBits bits(count, false);
  for (std::uint64_t page = 0; page < count; ++page) bits.set(page, test(first + page));
  bits.runs_ = count == 0 ? 0 : 1 + bits.edges(1, count);
  return bits;
}

}  // namespace vm_engine::internal
