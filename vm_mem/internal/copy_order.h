// In which order the steps of a copy can run so that none writes what a later one
// has yet to read.
#ifndef VM_MEM_INTERNAL_COPY_ORDER_H_
#define VM_MEM_INTERNAL_COPY_ORDER_H_

#include <cstdint>

#include "vm_mem/internal/pair_walk.h"

namespace vm_mem::internal {

// Needs, below: every byte mapped on both sides.
struct CopyRange {
  GuestAddress to;
  GuestAddress from;
  std::uint64_t bytes = 0;
};

enum class CopyOrder : std::uint8_t { kAscending, kDescending, kBuffered };

// kDescending only where no byte of either side is a device's. Where the host may fail to
// provide a byte, the order is one that holds inside each piece too, so that a failure
// leaves the beginning or, of kDescending, the end.
// Cost:  quadratic in the number of pieces where the map has aliases or a device
//        takes part, up to a small limit.
CopyOrder copy_order(const MemoryMap& map, const CopyRange& range);

// Whether the host may fail to provide some byte of either side.
bool is_recoverable(const MemoryMap& map, const CopyRange& range);

// The longest piece that ends `left` bytes into the range. Needs: memory there.
PairStep piece_before(const MemoryMap& map, const CopyRange& range, std::uint64_t left);

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_COPY_ORDER_H_
