// copy_memory: as if all of the source were read before the first byte of the
// destination is written, and the destination then written in order of address.
//
//  1. What the map permits on both sides is the prefix that is copied.
//  2. One piece (both ends within one section): the copy core's memmove.
//  3. Several steps: ascending where no step writes what a later step reads;
//     else descending where that is safe; devices are never walked backward.
//  4. Neither (aliases can rotate memory into itself): through a buffer.
//
// Pieces that the host may fail to provide are moved in the order of the whole, so that
// what is done when one fails is a prefix or, descending, a suffix.
#include <algorithm>
#include <array>
#include <span>

#include "vm_mem/guest_copy.h"
#include "vm_mem/host_mapping.h"
#include "vm_mem/internal/access_engine.h"
#include "vm_mem/internal/copy_order.h"
#include "vm_mem/internal/pair_walk.h"
#include "vm_mem/internal/recoverable_copy.h"

namespace vm_mem::internal {
namespace {

constexpr std::size_t kStackBuffer = 4096;

GuestMove move_ascending(const PairStep& piece, WriteCause cause) {
  std::byte* const to = piece.destination.host();
  const std::byte* const from = piece.source.host();
  GuestMove moved{.done = piece.bytes};
  if (piece.destination.is_recoverable() || piece.source.is_recoverable()) {
    moved = copy_ascending_or_fault(to, from, piece.bytes);
  } else {
    copy_within_guest(to, from, piece.bytes);
  }
  mark_dirty(piece.destination.first(moved.done), cause);
  return moved;
}

GuestMove move_descending(const PairStep& piece, WriteCause cause) {
  std::byte* const to = piece.destination.host();
  const std::byte* const from = piece.source.host();
  GuestMove moved{.done = piece.bytes};
  if (piece.destination.is_recoverable() || piece.source.is_recoverable()) {
    moved = copy_descending_or_fault(to, from, piece.bytes);
  } else {
    copy_within_guest(to, from, piece.bytes);
  }
  mark_dirty(piece.destination.last(moved.done), cause);
  return moved;
}

AccessResult move_element(const MemoryMap& map, const PairStep& step, WriteCause cause) {
  std::array<std::byte, 8> buffer;
  const auto bytes = static_cast<unsigned>(step.bytes);
  const AccessFault fault = load_element(map, step.source, bytes, buffer.data());
  if (fault != AccessFault::kNone) return {.fault = fault, .side = AccessSide::kSource};
  const DeviceProgress stored = store_element(map, step.destination, bytes, buffer.data(), cause);
  if (stored.fault == AccessFault::kNone) return {.done = step.bytes};
  return {.fault = stored.fault, .side = AccessSide::kDestination, .done = stored.done};
}

AccessResult move_step(const MemoryMap& map, const PairStep& step, WriteCause cause) {
  if (!step.is_piece()) return move_element(map, step, cause);
  const GuestMove moved = move_ascending(step, cause);
  if (moved.done == step.bytes) return {.done = step.bytes};
  return {.fault = AccessFault::kHostFault, .side = moved.side, .done = moved.done};
}

// Each of these moves the prefix, whose bytes are all mapped. The result has its
// `fault`, `side`, `from_end` and `done` set.
AccessResult copy_ascending(const MemoryMap& map, const CopyRange& range, WriteCause cause) {
  AccessResult result;
  while (result.ok() && result.done < range.bytes) {
    const PairStep step = step_at(map, range.to.offset_by(result.done),
                                  range.from.offset_by(result.done), range.bytes - result.done);
    const AccessResult moved = move_step(map, step, cause);
    result = {.fault = moved.fault, .side = moved.side, .done = result.done + moved.done};
  }
  return result;
}

AccessResult copy_descending(const MemoryMap& map, const CopyRange& range, WriteCause cause) {
  for (std::uint64_t left = range.bytes; left > 0;) {
    const PairStep piece = piece_before(map, range, left);
    const GuestMove moved = move_descending(piece, cause);
    left -= moved.done;
    if (moved.done < piece.bytes) {
      return {AccessFault::kHostFault, moved.side, true, range.bytes - left, {}};
    }
  }
  return {.done = range.bytes};
}

AccessResult copy_through(const MemoryMap& map, const CopyRange& range, WriteCause cause,
                          std::span<std::byte> buffer) {
  const AccessResult in = read_memory(map, range.from, buffer.first(range.bytes));
  AccessResult out = write_memory(map, range.to, buffer.first(in.done), cause);
  if (!out.ok()) return out;
  return {.fault = in.fault, .side = AccessSide::kSource, .done = out.done};
}

// A mapping of its own, so that this rare case takes nothing from the heap.
AccessResult copy_buffered(const MemoryMap& map, const CopyRange& range, WriteCause cause) {
  std::array<std::byte, kStackBuffer> small;
  if (range.bytes <= small.size()) return copy_through(map, range, cause, small);
  absl::StatusOr<HostMapping> large = HostMapping::anonymous(range.bytes);
  if (!large.ok()) return {.fault = AccessFault::kHostFault, .side = AccessSide::kDestination};
  return copy_through(map, range, cause, large->bytes());
}

// What cannot be the end of the whole because the map stops it before must not descend
// to a failure in the middle.
bool must_not_descend(const MemoryMap& map, const CopyRange& range,
                      const PermittedPair& permitted) {
  return permitted.fault != AccessFault::kNone && is_recoverable(map, range);
}

AccessResult copy_prefix(const MemoryMap& map, const CopyRange& range,
                         const PermittedPair& permitted, WriteCause cause) {
  switch (copy_order(map, range)) {
    case CopyOrder::kAscending: return copy_ascending(map, range, cause);
    case CopyOrder::kDescending:
      if (must_not_descend(map, range, permitted)) break;
      return copy_descending(map, range, cause);
    case CopyOrder::kBuffered: break;
  }
  return copy_buffered(map, range, cause);
}

std::uint64_t first_byte_not_done(const AccessResult& result, std::uint64_t bytes) {
  return result.from_end ? bytes - result.done - 1 : result.done;
}

}  // namespace

AccessResult copy_memory(const MemoryMap& map, GuestAddress to, GuestAddress from,
                         std::uint64_t bytes, WriteCause cause) {
  const PermittedPair permitted = permitted_pair(map, to, Access::kWrite, from, bytes);
  AccessResult result = copy_prefix(map, {to, from, permitted.bytes}, permitted, cause);
  if (result.ok()) {
    result.fault = permitted.fault;
    result.side = permitted.side;
  }
  if (result.ok()) return {.done = result.done};
  result.at = (result.side == AccessSide::kDestination ? to : from)
                  .offset_by(first_byte_not_done(result, bytes));
  return result;
}

}  // namespace vm_mem::internal
