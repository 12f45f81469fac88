// Linked into a program, it has the core copy by libc instead of a row of its own: what is
// measured is a program with the core and the same program without it.

#include <cstring>

#include "vm_mem/internal/copy_state.h"

namespace vm_mem::internal {
namespace {

void copy(std::byte* dst, const std::byte* src, std::size_t n) noexcept {
  std::memcpy(dst, src, n);
}
void copy_words(std::byte* dst, const std::byte* src, std::size_t n) { std::memcpy(dst, src, n); }
void move(std::byte* dst, const std::byte* src, std::size_t n) { std::memmove(dst, src, n); }
void set(std::byte* dst, std::byte value, std::size_t n) {
  std::memset(dst, std::to_integer<int>(value), n);
}
int compare(const std::byte* a, const std::byte* b, std::size_t n) {
  const int order = std::memcmp(a, b, n);
  return (order > 0) - (order < 0);
}
bool equal(const std::byte* a, const std::byte* b, std::size_t n) {
  return std::memcmp(a, b, n) == 0;
}

// What libc lacks, faults that are survived and a look for zeros, stays the best row's.
CopyKernels make_row(const CopyKernels& best) {
  CopyKernels row = best;
  row.isa = "libc";
  row.copy = copy;
  row.copy_words = copy_words;
  row.move = move;
  row.set = set;
  row.compare = compare;
  row.equal = equal;
  row.stream = copy_words;
  return row;
}

// Nothing is copied in line.
const bool installed = [] {
  static const CopyKernels row = make_row(active_kernels());
  for (auto& limit : inline_limits) limit.store(0, std::memory_order_relaxed);
  copy_function.store(row.copy, std::memory_order_relaxed);
  raw_copy_state.row.store(&row, std::memory_order_release);
  return true;
}();

}  // namespace
}  // namespace vm_mem::internal
