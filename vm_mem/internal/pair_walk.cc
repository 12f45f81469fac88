#include "vm_mem/internal/pair_walk.h"

#include <algorithm>
#include <span>

#include "vm_mem/internal/access_engine.h"

namespace vm_mem::internal {
namespace {

constexpr std::uint64_t kLargestElement = 8;

// How many of the next few bytes are of the same kind, device or memory, as the
// first. Only as far as an element reaches.
std::uint64_t same_kind(const MemoryMap& map, const Run& run, std::uint64_t bytes) {
  const std::uint64_t wanted = std::min(bytes, kLargestElement);
  std::uint64_t found = std::min(wanted, run.bytes);
  while (found < wanted) {
    const Run next = run_at(map, run.begin().offset_by(found), wanted - found);
    if (next.is_device() != run.is_device()) break;
    found += next.bytes;
  }
  return found;
}

}  // namespace

PermittedPair permitted_pair(const MemoryMap& map, GuestAddress destination, Access access,
                             GuestAddress source, std::uint64_t bytes) {
  const Permitted from = permitted_prefix(map, source, bytes, Access::kRead);
  const Permitted to = permitted_prefix(map, destination, bytes, access);
  if (to.bytes < from.bytes) return {to.bytes, to.fault, AccessSide::kDestination};
  return {from.bytes, from.fault, AccessSide::kSource};
}

PairStep step_at(const MemoryMap& map, GuestAddress destination, GuestAddress source,
                 std::uint64_t bytes) {
  PairStep step{run_at(map, destination, bytes), run_at(map, source, bytes), 0};
  if (step.is_piece()) {
    step.bytes = std::min(step.destination.bytes, step.source.bytes);
  } else {
    const std::uint64_t alignment = (step.destination.is_device() ? destination.value : 0) |
                                    (step.source.is_device() ? source.value : 0);
    const std::uint64_t left =
        std::min(same_kind(map, step.destination, bytes), same_kind(map, step.source, bytes));
    step.bytes = element_bytes(alignment, left);
  }
  step.destination.bytes = std::min(step.destination.bytes, step.bytes);
  step.source.bytes = std::min(step.source.bytes, step.bytes);
  return step;
}

AccessFault load_element(const MemoryMap& map, const Run& from, unsigned bytes, std::byte* to) {
  if (from.is_device()) return read_element(from, bytes, to);
  return read_memory(map, from.begin(), std::span(to, bytes)).fault;
}

DeviceProgress store_element(const MemoryMap& map, const Run& to, unsigned bytes,
                             const std::byte* from, WriteCause cause) {
  if (to.is_device()) return {.fault = write_element(to, bytes, from)};
  const AccessResult stored = write_memory(map, to.begin(), std::span(from, bytes), cause);
  return {stored.fault, stored.done};
}

}  // namespace vm_mem::internal
