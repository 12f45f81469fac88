#include "vm_mem/internal/copy_order.h"

#include <algorithm>
#include <array>
#include <optional>
#include <span>

namespace vm_mem::internal {
namespace {

// The memory that one step touches; null where a device stands.
struct Piece {
  const std::byte* to = nullptr;
  const std::byte* from = nullptr;
  std::uint64_t bytes = 0;
};

struct Pieces {
  static constexpr std::size_t kMost = 64;
  std::array<Piece, kMost> list;
  std::size_t count = 0;
  bool complete = true;  // false: there are more than kMost
  bool has_device = false;
  bool has_recoverable = false;

  // One piece is moved by memmove and hazards nothing to itself, unless it is cut: with
  // devices into elements, and where the host may fail at a byte in the middle.
  bool are_cut() const { return has_device || has_recoverable; }

  std::span<const Piece> all() const { return {list.data(), count}; }
};

// Unlike the steps, pieces do not end at each element: only where a section does.
Pieces pieces_of(const MemoryMap& map, const CopyRange& range) {
  Pieces pieces;
  for (std::uint64_t done = 0; done < range.bytes;) {
    const Run to = run_at(map, range.to.offset_by(done), range.bytes - done);
    const Run from = run_at(map, range.from.offset_by(done), range.bytes - done);
    pieces.has_device = pieces.has_device || to.is_device() || from.is_device();
    pieces.has_recoverable = pieces.has_recoverable || to.is_recoverable() || from.is_recoverable();
    if (pieces.count == Pieces::kMost) {
      pieces.complete = false;
    } else {
      pieces.list[pieces.count++] = {to.is_device() ? nullptr : to.host(),
                                     from.is_device() ? nullptr : from.host(),
                                     std::min(to.bytes, from.bytes)};
    }
    done += std::min(to.bytes, from.bytes);
  }
  return pieces;
}

bool overlap(const std::byte* a, std::uint64_t a_bytes, const std::byte* b, std::uint64_t b_bytes) {
  return a != nullptr && b != nullptr && a < b + b_bytes && b < a + a_bytes;
}

bool overlaps_itself(const Piece& piece) {
  return overlap(piece.to, piece.bytes, piece.from, piece.bytes);
}

struct Hazards {
  bool ascending = false;
  bool descending = false;
};

Hazards hazards_of(const Pieces& pieces) {
  Hazards hazards;
  for (std::size_t low = 0; low < pieces.count; ++low) {
    const Piece& below = pieces.list[low];
    if (pieces.are_cut() && overlaps_itself(below)) {
      hazards.ascending |= below.to > below.from;
      hazards.descending |= below.to < below.from;
    }
    for (std::size_t high = low + 1; high < pieces.count; ++high) {
      const Piece& above = pieces.list[high];
      hazards.ascending |= overlap(below.to, below.bytes, above.from, above.bytes);
      // The second: where one host byte is written twice, the later address wins.
      hazards.descending |= overlap(above.to, above.bytes, below.from, below.bytes) ||
                            overlap(above.to, above.bytes, below.to, below.bytes);
    }
  }
  return hazards;
}

// Without aliases, ranges that overlap in the host overlap in the guest.
CopyOrder order_by_address(const CopyRange& range) {
  const bool destination_is_ahead =
      range.to > range.from && range.to.value - range.from.value < range.bytes;
  return destination_is_ahead ? CopyOrder::kDescending : CopyOrder::kAscending;
}

}  // namespace

CopyOrder copy_order(const MemoryMap& map, const CopyRange& range) {
  const Pieces pieces = pieces_of(map, range);
  if (!pieces.are_cut() && pieces.count <= 1) return CopyOrder::kAscending;
  if (!pieces.has_device && !map.has_aliases()) return order_by_address(range);
  if (!pieces.complete) return CopyOrder::kBuffered;
  const Hazards hazards = hazards_of(pieces);
  if (!hazards.ascending) return CopyOrder::kAscending;
  if (!hazards.descending && !pieces.has_device) return CopyOrder::kDescending;
  return CopyOrder::kBuffered;
}

bool is_recoverable(const MemoryMap& map, const CopyRange& range) {
  return pieces_of(map, range).has_recoverable;
}

PairStep piece_before(const MemoryMap& map, const CopyRange& range, std::uint64_t left) {
  const std::uint64_t last = left - 1;
  Run to = run_at(map, range.to.offset_by(last), 1);
  Run from = run_at(map, range.from.offset_by(last), 1);
  const std::uint64_t bytes = std::min({to.offset + 1, from.offset + 1, left});
  to = {to.section, to.offset + 1 - bytes, bytes};
  from = {from.section, from.offset + 1 - bytes, bytes};
  return {to, from, bytes};
}

}  // namespace vm_mem::internal
