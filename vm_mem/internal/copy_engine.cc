// copy_memory: as if all of the source were read before the first byte of the
// destination is written, and the destination then written in order of address.
//
//  1. What the map permits on both sides is the prefix that is copied.
//  2. One piece (both ends within one section): the copy core's memmove.
//  3. Several steps: ascending where no step writes what a later step reads;
//     else descending where that is safe; devices are never walked backward.
//  4. Neither (aliases can rotate memory into itself): through a buffer.
#include <algorithm>
#include <array>
#include <span>

#include "vm_mem/host_mapping.h"
#include "vm_mem/internal/access_engine.h"
#include "vm_mem/internal/copy_order.h"
#include "vm_mem/internal/guest_copy.h"
#include "vm_mem/internal/pair_walk.h"

namespace vm_mem::internal {
namespace {

constexpr std::size_t kStackBuffer = 4096;

void move_piece(const PairStep& piece) {
  copy_within_guest(piece.destination.host(), piece.source.host(), piece.bytes);
  mark_dirty(piece.destination);
}

AccessResult move_element(const MemoryMap& map, const PairStep& step) {
  std::array<std::byte, 8> buffer;
  const auto bytes = static_cast<unsigned>(step.bytes);
  AccessFault fault = load_element(map, step.source, bytes, buffer.data());
  if (fault != AccessFault::kNone) return {.fault = fault, .side = AccessSide::kSource};
  fault = store_element(map, step.destination, bytes, buffer.data());
  return {.fault = fault, .side = AccessSide::kDestination};
}

// Each of these moves the prefix, whose bytes are all mapped. The result has its
// `fault`, `side` and `done` set.
AccessResult copy_ascending(const MemoryMap& map, const CopyRange& range) {
  AccessResult result;
  while (result.done < range.bytes) {
    const PairStep step = step_at(map, range.to.offset_by(result.done),
                                  range.from.offset_by(result.done), range.bytes - result.done);
    if (step.is_piece()) {
      move_piece(step);
    } else if (const AccessResult moved = move_element(map, step); !moved.ok()) {
      return {.fault = moved.fault, .side = moved.side, .done = result.done};
    }
    result.done += step.bytes;
  }
  return result;
}

AccessResult copy_descending(const MemoryMap& map, const CopyRange& range) {
  for (std::uint64_t left = range.bytes; left > 0;) {
    const PairStep piece = piece_before(map, range, left);
    move_piece(piece);
    left -= piece.bytes;
  }
  return {.done = range.bytes};
}

AccessResult copy_through(const MemoryMap& map, const CopyRange& range,
                          std::span<std::byte> buffer) {
  const AccessResult in = read_memory(map, range.from, buffer.first(range.bytes));
  AccessResult out = write_memory(map, range.to, buffer.first(in.done));
  if (!out.ok()) return out;
  return {.fault = in.fault, .side = AccessSide::kSource, .done = out.done};
}

// A mapping of its own, so that this rare case takes nothing from the heap.
AccessResult copy_buffered(const MemoryMap& map, const CopyRange& range) {
  std::array<std::byte, kStackBuffer> small;
  if (range.bytes <= small.size()) return copy_through(map, range, small);
  absl::StatusOr<HostMapping> large = HostMapping::anonymous(range.bytes);
  if (!large.ok()) return {.fault = AccessFault::kHostFault, .side = AccessSide::kDestination};
  return copy_through(map, range, large->bytes());
}

AccessResult copy_prefix(const MemoryMap& map, const CopyRange& range) {
  switch (copy_order(map, range)) {
    case CopyOrder::kAscending: return copy_ascending(map, range);
    case CopyOrder::kDescending: return copy_descending(map, range);
    case CopyOrder::kBuffered: break;
  }
  return copy_buffered(map, range);
}

}  // namespace

AccessResult copy_memory(const MemoryMap& map, GuestAddress to, GuestAddress from,
                         std::uint64_t bytes) {
  const PermittedPair permitted = permitted_pair(map, to, Access::kWrite, from, bytes);
  AccessResult result = copy_prefix(map, {to, from, permitted.bytes});
  if (result.ok()) {
    result.fault = permitted.fault;
    result.side = permitted.side;
  }
  if (result.ok()) return {.done = result.done};
  result.at = (result.side == AccessSide::kDestination ? to : from).offset_by(result.done);
  return result;
}

}  // namespace vm_mem::internal
