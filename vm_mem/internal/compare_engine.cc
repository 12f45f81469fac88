// compare_memory: memory a chunk at a time, devices element by element. Memory above
// the first difference is not looked at; devices are read to the end, so that what
// they see does not depend on the bytes.
#include <algorithm>
#include <array>
#include <cstring>
#include <span>

#include "vm_mem/guest_copy.h"
#include "vm_mem/internal/access_engine.h"
#include "vm_mem/internal/pair_walk.h"
#include "vm_mem/internal/recoverable_copy.h"

namespace vm_mem::internal {
namespace {

// How many bytes the host provides.
std::uint64_t read_chunk(const Run& run, std::uint64_t offset, std::span<std::byte> to) {
  const std::byte* const from = run.host() + offset;
  if (run.is_recoverable()) return copy_from_guest_or_fault(to.data(), from, to.size());
  copy_from_guest(to.data(), from, to.size());
  return to.size();
}

// Its `done` are the bytes that were looked at and are equal, where nothing differs.
AccessResult compare_piece(const PairStep& step, int& order) {
  std::array<std::byte, 1024> a;
  std::array<std::byte, 1024> b;
  for (std::uint64_t done = 0; done < step.bytes; done += a.size()) {
    const std::uint64_t bytes = std::min<std::uint64_t>(a.size(), step.bytes - done);
    const std::uint64_t of_a = read_chunk(step.destination, done, std::span(a).first(bytes));
    const std::uint64_t of_b = read_chunk(step.source, done, std::span(b).first(bytes));
    const std::uint64_t both = std::min(of_a, of_b);
    order = std::memcmp(a.data(), b.data(), both);
    if (order != 0) break;
    if (both < bytes) {
      const AccessSide side = of_b <= of_a ? AccessSide::kSource : AccessSide::kDestination;
      return {.fault = AccessFault::kHostFault, .side = side, .done = done + both};
    }
  }
  return {.done = step.bytes};
}

// Reads the element of `a`, the destination side, first.
AccessResult compare_element(const MemoryMap& map, const PairStep& step, int& order) {
  std::array<std::byte, 8> a;
  std::array<std::byte, 8> b;
  const auto bytes = static_cast<unsigned>(step.bytes);
  if (const AccessFault fault = load_element(map, step.destination, bytes, a.data());
      fault != AccessFault::kNone) {
    return {.fault = fault, .side = AccessSide::kDestination};
  }
  if (const AccessFault fault = load_element(map, step.source, bytes, b.data());
      fault != AccessFault::kNone) {
    return {.fault = fault, .side = AccessSide::kSource};
  }
  if (order == 0) order = std::memcmp(a.data(), b.data(), bytes);
  return {.done = bytes};
}

}  // namespace

AccessResult compare_memory(const MemoryMap& map, GuestAddress a, GuestAddress b,
                            std::uint64_t bytes, int& order) {
  const PermittedPair permitted = permitted_pair(map, a, Access::kRead, b, bytes);
  AccessResult result{.fault = permitted.fault, .side = permitted.side};
  order = 0;
  while (result.done < permitted.bytes) {
    const std::uint64_t left = permitted.bytes - result.done;
    const PairStep step = step_at(map, a.offset_by(result.done), b.offset_by(result.done), left);
    AccessResult compared{.done = step.bytes};
    if (!step.is_piece()) {
      compared = compare_element(map, step, order);
    } else if (order == 0) {
      compared = compare_piece(step, order);
    }
    result.done += compared.done;
    if (!compared.ok()) {
      result.fault = compared.fault;
      result.side = compared.side;
      break;
    }
  }
  if (result.ok()) return {.done = result.done};
  result.at = (result.side == AccessSide::kDestination ? a : b).offset_by(result.done);
  return result;
}

}  // namespace vm_mem::internal
