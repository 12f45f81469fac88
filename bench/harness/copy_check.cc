#include "bench/harness/copy_check.h"

#include <algorithm>

#include "bench/harness/page_buffer.h"

namespace vm_bench {
namespace {

// The bytes around the destination that have to stay as they are.
constexpr std::size_t kMargin = 64;
constexpr std::byte kUntouched{0xa5};

}  // namespace

bool copies_exactly(CopyFn copy, CopyAt at) {
  static PageBuffer dst_memory;
  static PageBuffer src_memory;
  std::byte* const before = dst_memory.at_least(kPage + at.bytes + 2 * kMargin) + at.dst % kPage;
  std::byte* const src = src_memory.at_least(kPage + at.bytes) + at.src % kPage;
  for (std::size_t i = 0; i < at.bytes; ++i) src[i] = static_cast<std::byte>(i * 251 + (i >> 8));
  std::fill_n(before, at.bytes + 2 * kMargin, kUntouched);
  std::byte* const copied = before + kMargin;
  copy(copied, src, at.bytes);
  const auto untouched = [](std::byte b) { return b == kUntouched; };
  return std::equal(copied, copied + at.bytes, src) && std::all_of(before, copied, untouched) &&
         std::all_of(copied + at.bytes, copied + at.bytes + kMargin, untouched);
}

}  // namespace vm_bench
