// Two ranges of guest addresses walked side by side, cut into steps that can be
// moved or compared at once.
#ifndef VM_MEM_INTERNAL_PAIR_WALK_H_
#define VM_MEM_INTERNAL_PAIR_WALK_H_

#include <cstddef>
#include <cstdint>

#include "vm_mem/internal/device_access.h"
#include "vm_mem/internal/section_walk.h"

namespace vm_mem::internal {

// The longest prefix that both operands permit. Where both stop at the same byte, the
// source is the one that is named.
struct PermittedPair {
  std::uint64_t bytes = 0;
  AccessFault fault = AccessFault::kNone;
  AccessSide side = AccessSide::kSource;
};
PermittedPair permitted_pair(const MemoryMap& map, GuestAddress destination, Access access,
                             GuestAddress source, std::uint64_t bytes);

// Either a piece: both runs are memory, of the same length. Or one element of 1, 2, 4
// or 8 bytes, because at least one of them is a device: it is aligned wherever it
// meets a device, and its bytes in memory may lie across several sections.
struct PairStep {
  Run destination;
  Run source;
  std::uint64_t bytes = 0;

  bool is_piece() const { return !destination.is_device() && !source.is_device(); }
};
// Needs: bytes > 0, all of them mapped on both sides.
PairStep step_at(const MemoryMap& map, GuestAddress destination, GuestAddress source,
                 std::uint64_t bytes);

// One element between a buffer and either kind of operand. Loaded is all of it or nothing;
// a store to memory may stop in the middle.
AccessFault load_element(const MemoryMap& map, const Run& from, unsigned bytes, std::byte* to);
DeviceProgress store_element(const MemoryMap& map, const Run& to, unsigned bytes,
                             const std::byte* from, WriteCause cause);

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_PAIR_WALK_H_
