// compare_memory: memory a chunk at a time, devices element by element. Memory above
// the first difference is not looked at; devices are read to the end, so that what
// they see does not depend on the bytes.
#include <algorithm>
#include <array>
#include <cstring>

#include "vm_mem/internal/access_engine.h"
#include "vm_mem/internal/guest_copy.h"
#include "vm_mem/internal/pair_walk.h"

namespace vm_mem::internal {
namespace {

int compare_piece(const PairStep& step) {
  std::array<std::byte, 1024> a;
  std::array<std::byte, 1024> b;
  int order = 0;
  for (std::uint64_t done = 0; done < step.bytes && order == 0; done += a.size()) {
    const std::uint64_t bytes = std::min<std::uint64_t>(a.size(), step.bytes - done);
    copy_from_guest(a.data(), step.destination.host() + done, bytes);
    copy_from_guest(b.data(), step.source.host() + done, bytes);
    order = std::memcmp(a.data(), b.data(), bytes);
  }
  return order;
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
  return {};
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
    if (step.is_piece()) {
      if (order == 0) order = compare_piece(step);
    } else if (const AccessResult device = compare_element(map, step, order); !device.ok()) {
      result.fault = device.fault;
      result.side = device.side;
      break;
    }
    result.done += step.bytes;
  }
  if (result.ok()) return {.done = result.done};
  result.at = (result.side == AccessSide::kDestination ? a : b).offset_by(result.done);
  return result;
}

}  // namespace vm_mem::internal
