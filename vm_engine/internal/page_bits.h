// One bit a page, and how many runs of equal bits they form: as many mappings of the host
// as it takes to protect the pages accordingly.
#ifndef VM_ENGINE_INTERNAL_PAGE_BITS_H_
#define VM_ENGINE_INTERNAL_PAGE_BITS_H_

#include <cstdint>
#include <vector>

namespace vm_engine::internal {

class PageBits {
 public:
  PageBits() = default;
  // Errors:  std::bad_alloc.
  PageBits(std::uint64_t pages, bool value);

  std::uint64_t size() const { return pages_; }
  std::uint64_t runs() const { return runs_; }
  std::uint64_t ones() const { return ones_; }

  // Memory, the rest:  no allocation. Needs: inside.
  bool test(std::uint64_t page) const { return (words_[page / 64] >> page % 64 & 1) != 0; }
  void assign(std::uint64_t first, std::uint64_t count, bool value);
  // The first one, or zero, from `page` on; size() where there is none.
  std::uint64_t next_one(std::uint64_t page) const { return next(page, 0); }
  std::uint64_t next_zero(std::uint64_t page) const { return next(page, ~std::uint64_t{0}); }

  // Errors:  std::bad_alloc.
  PageBits part(std::uint64_t first, std::uint64_t count) const;

 private:
  // Where a page differs from the one before it.
  bool is_edge(std::uint64_t page) const {
    return page > 0 && page < pages_ && test(page) != test(page - 1);
  }
  std::uint64_t edges(std::uint64_t first, std::uint64_t count) const;
  // The first that is one in the words combined with `inverted`.
  std::uint64_t next(std::uint64_t page, std::uint64_t inverted) const;
  void set(std::uint64_t page, bool value);

  std::vector<std::uint64_t> words_;
  std::uint64_t pages_ = 0;
  std::uint64_t runs_ = 0;
  std::uint64_t ones_ = 0;
};

}  // namespace vm_engine::internal

#endif  // VM_ENGINE_INTERNAL_PAGE_BITS_H_
