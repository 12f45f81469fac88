// How a long copy or fill goes, by the policy in force. Read by the kernels of every
// row, so that a policy decides alike for all of them.
#ifndef VM_MEM_INTERNAL_LONG_COPY_H_
#define VM_MEM_INTERNAL_LONG_COPY_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "vm_mem/internal/copy_state.h"
#include "vm_mem/internal/target_region.h"

namespace vm_mem::internal {

enum class LongCopyPath { kLoop, kPrefetch, kString };
enum class FillPath { kLoop, kStream, kString };

// The pages that this thread's latest long copies wrote, by their low bits: the host
// pages that its first cache is likely to hold. Some CPUs copy what lies there best
// with a loop, and all else with a string instruction.
extern thread_local constinit std::array<std::uintptr_t, 8> recent_pages
    [[gnu::tls_model("initial-exec")]];

// Remembers it as well.
VM_MEM_INLINE bool recently_written(const std::byte* dst) {
  const std::uintptr_t page = reinterpret_cast<std::uintptr_t>(dst) / 4096;
  // Regions often lie whole huge pages apart: their first pages have slots of their own.
  std::uintptr_t& slot = recent_pages[(page ^ page >> 9 ^ page >> 12) % recent_pages.size()];
  const bool recent = slot == page;
  slot = page;
  return recent;
}

VM_MEM_INLINE std::size_t limit(const std::atomic<std::size_t>& field) {
  return field.load(std::memory_order_relaxed);
}

// Below this every long copy takes the plain loop.
VM_MEM_INLINE std::size_t least_long_copy() { return limit(raw_copy_state.least_long); }

VM_MEM_INLINE bool aligns_loads(std::size_t n) {
  return n <= limit(raw_copy_state.align_loads_max);
}

VM_MEM_INLINE bool streams(std::size_t n) { return n >= limit(raw_copy_state.stream_min); }

VM_MEM_INLINE bool streams_by_pages() { return limit(raw_copy_state.stream_pages) > 1; }

// Whether what a copy of this size writes may lie in the first cache.
VM_MEM_INLINE bool may_be_recent(std::size_t n) {
  return n < limit(raw_copy_state.rep_movsb_hot_min);
}

// Where no string instruction will do.
VM_MEM_INLINE LongCopyPath loop_path(std::size_t n) {
  return n >= limit(raw_copy_state.prefetch_min) ? LongCopyPath::kPrefetch : LongCopyPath::kLoop;
}

VM_MEM_INLINE LongCopyPath long_copy_path(const std::byte* dst, std::size_t n) {
  const CopyState& state = raw_copy_state;
  if (n >= limit(state.rep_movsb_min) && n <= limit(state.rep_movsb_max)) {
    const bool recent = may_be_recent(n) && recently_written(dst);
    return recent ? LongCopyPath::kLoop : LongCopyPath::kString;
  }
  return loop_path(n);
}

VM_MEM_INLINE FillPath fill_path(const std::byte* dst, std::size_t n) {
  const CopyState& state = raw_copy_state;
  const bool splits_words = reinterpret_cast<std::uintptr_t>(dst) % 8 != 0 || n % 8 != 0;
  if (n >= limit(state.string_fill_min) && !splits_words) return FillPath::kString;
  return streams(n) ? FillPath::kStream : FillPath::kLoop;
}

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_LONG_COPY_H_
