#include "vm_mem/internal/host_memory_numa.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <string>

#include "absl/strings/str_format.h"
#include "vm_mem/internal/host_memory_error.h"

namespace vm_mem::internal {
namespace {

constexpr std::uint32_t kMostNodes = 1024;  // CONFIG_NODES_SHIFT is at most 10
constexpr std::size_t kWordBits = 8 * sizeof(unsigned long);

using NodeMask = std::array<unsigned long, kMostNodes / kWordBits>;

// MPOL_* of linux/mempolicy.h, which only its own headers may include.
int mode_of(NumaPolicy policy) {
  switch (policy) {
    case NumaPolicy::kDefault: return 0;
    case NumaPolicy::kPreferred: return 1;
    case NumaPolicy::kBind: return 2;
    case NumaPolicy::kInterleave: return 3;
  }
  return 0;
}

NodeMask mask_of(std::span<const std::uint32_t> nodes) {
  NodeMask mask{};
  for (const std::uint32_t node : nodes) mask[node / kWordBits] |= 1UL << (node % kWordBits);
  return mask;
}

absl::Status no_such_node(std::span<const std::uint32_t> nodes) {
  std::string text = "NUMA nodes";
  for (const std::uint32_t node : nodes) absl::StrAppendFormat(&text, " %u", node);
  return absl::InvalidArgumentError(
      text + ": not all are online; see /sys/devices/system/node/online and the process's cpuset");
}

}  // namespace

absl::Status check_nodes(NumaPolicy policy, std::span<const std::uint32_t> nodes) {
  if (policy == NumaPolicy::kDefault) {
    if (nodes.empty()) return absl::OkStatus();
    return absl::InvalidArgumentError("NUMA nodes without a policy: say kBind, for example");
  }
  if (nodes.empty()) return absl::InvalidArgumentError("a NUMA policy without nodes");
  if (policy == NumaPolicy::kPreferred && nodes.size() != 1) {
    return absl::InvalidArgumentError(
        absl::StrFormat("NumaPolicy::kPreferred takes one node, not %u", nodes.size()));
  }
  if (*std::max_element(nodes.begin(), nodes.end()) >= kMostNodes) return no_such_node(nodes);
  return absl::OkStatus();
}

absl::Status place_on_nodes(std::span<std::byte> part, NumaPolicy policy,
                            std::span<const std::uint32_t> nodes) {
  if (policy == NumaPolicy::kDefault) return absl::OkStatus();
  const NodeMask mask = mask_of(nodes);
  // The kernel takes one bit fewer than it is told of.
  const long done = ::syscall(SYS_mbind, part.data(), part.size(), mode_of(policy), mask.data(),
                              static_cast<unsigned long>(kMostNodes + 1), 0U);
  if (done == 0) return absl::OkStatus();
  if (errno == EINVAL) return no_such_node(nodes);
  return host_refused("mbind", part.size(), errno);
}

}  // namespace vm_mem::internal
