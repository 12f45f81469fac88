// Guest to guest: two translations at a time.
#include <algorithm>

#include "vm_device/dma.h"
#include "vm_device/internal/dma_memory.h"
#include "vm_device/internal/dma_permission.h"
#include "vm_device/internal/dma_transfer.h"

namespace vm_device {
namespace {

using internal::DmaTransfer;
using vm_mem::AccessResult;
using vm_mem::AccessSide;
using vm_mem::GuestAddress;

// What two ranges of bus addresses have in common at one place: a run of guest addresses
// on both sides.
struct Pair {
  GuestAddress to;
  GuestAddress from;
  std::uint64_t bytes = 0;
};

// The sides of a copy; of a comparison both are read.
struct Sides {
  DmaSegment to;
  DmaSegment from;
  DmaAccess to_access;
};

// The pair `done` bytes into both, or a refusal; where both sides refuse it is the
// source's.
DmaResult pair_at(DmaTransfer& transfer, const Sides& sides, std::uint64_t done, Pair& pair) {
  const GuestSegment from = transfer.section().next(sides.from, done, DmaAccess::kRead);
  if (from.bytes == 0) return DmaTransfer::refused(sides.from.address + done, done);
  const GuestSegment to = transfer.section().next(sides.to, done, sides.to_access);
  if (to.bytes == 0) return DmaTransfer::refused(sides.to.address + done, done);
  pair = {to.address, from.address, std::min(to.bytes, from.bytes)};
  return {};
}

// The bus address of the byte that `result` names.
std::uint64_t bus_address(const AccessResult& result, const Sides& sides, std::uint64_t done,
                          const Pair& pair) {
  return result.side == AccessSide::kSource
             ? sides.from.address + done + (result.at.value - pair.from.value)
             : sides.to.address + done + (result.at.value - pair.to.value);
}

// Calls move(pair), which gives an AccessResult, for the pairs from the lowest on.
template <typename Move>
DmaResult ascend(DmaTransfer& transfer, const Sides& sides, Move move) {
  std::uint64_t done = 0;
  while (done < sides.to.bytes) {
    Pair pair;
    const DmaResult refused = pair_at(transfer, sides, done, pair);
    if (!refused.ok()) return refused;
    const AccessResult result = move(pair);
    if (!result.ok()) {
      const std::uint64_t at = bus_address(result, sides, done, pair);
      const DmaFault fault = transfer.fault_of(result.fault);
      if (!result.from_end) return {fault, done + result.done, at};
      // The end of all, or no end that could be told.
      const bool whole = pair.bytes == sides.to.bytes;
      return {fault, whole ? result.done : done, at, whole};
    }
    done += pair.bytes;
  }
  return {.done = done};
}

// Pieces in one page on both sides, which are done as a whole or not at all. Where `end` is
// not that of all there is none that could be told.
template <typename Move>
DmaResult descend(DmaTransfer& transfer, const Sides& sides, std::uint64_t end, Move move) {
  constexpr std::uint64_t kPage = internal::kIommuPageBytes;
  const auto stopped = [&](DmaFault fault, std::uint64_t done, std::uint64_t at) {
    const bool whole = end == sides.to.bytes;
    return DmaResult{fault, whole ? done : 0, at, whole};
  };
  for (std::uint64_t left = end; left > 0;) {
    const std::uint64_t bytes = std::min({left, (sides.to.address + left - 1) % kPage + 1,
                                          (sides.from.address + left - 1) % kPage + 1});
    const std::uint64_t done = left - bytes;
    Pair pair;
    DmaResult refused = pair_at(transfer, sides, done, pair);
    if (!refused.ok()) return stopped(refused.fault, end - left, refused.at);
    pair.bytes = bytes;
    const AccessResult result = move(pair);
    if (!result.ok()) {
      const std::uint64_t more = result.from_end ? result.done : 0;
      return stopped(transfer.fault_of(result.fault), end - left + more,
                     bus_address(result, sides, done, pair));
    }
    left = done;
  }
  return {.done = end};
}

// What memory says of a pair before anything is moved; of both sides the source first.
AccessResult judge(const vm_mem::MemoryMap& map, const Pair& pair) {
  const AccessResult from = internal::permitted(map, pair.from, pair.bytes, DmaAccess::kRead);
  AccessResult to = internal::permitted(map, pair.to, pair.bytes, DmaAccess::kWrite);
  to.side = AccessSide::kDestination;
  return from.done <= to.done ? from : to;
}

}  // namespace

DmaResult DmaSpace::copy(std::uint64_t to, std::uint64_t from, std::uint64_t bytes) {
  DmaTransfer transfer(port_, initiator_);
  const Sides sides{{to, bytes}, {from, bytes}, DmaAccess::kWrite};
  const auto move = [&](const Pair& pair) { return memory().copy(pair.to, pair.from, pair.bytes); };
  const bool overwrites_source = to - from < bytes && to != from;
  if (port_ == nullptr || !overwrites_source) return ascend(transfer, sides, move);
  // What is translated, and permitted by memory, is found first: the longest prefix of it is
  // copied.
  const auto map = memory_->map();
  std::uint64_t pairs = 0;
  const DmaResult prefix = ascend(transfer, sides, [&](const Pair& pair) {
    ++pairs;
    return judge(*map, pair);
  });
  if (prefix.ok() && pairs <= 1) return ascend(transfer, sides, move);
  const DmaResult result = descend(transfer, sides, prefix.done, move);
  return result.ok() ? prefix : result;
}

DmaResult DmaSpace::compare(std::uint64_t a, std::uint64_t b, std::uint64_t bytes, int& order) {
  DmaTransfer transfer(port_, initiator_);
  order = 0;
  return ascend(transfer, {{a, bytes}, {b, bytes}, DmaAccess::kRead}, [&](const Pair& pair) {
    int here = 0;
    const AccessResult result = memory().compare(pair.to, pair.from, pair.bytes, here);
    if (order == 0) order = here;
    return result;
  });
}

}  // namespace vm_device
