// The flattened device tree that tells the guest what machine it runs on.
#ifndef VMRUN_DEVICE_TREE_H_
#define VMRUN_DEVICE_TREE_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "tools/vmrun/seed.h"

namespace vmrun {

// More than every tree that is made.
inline constexpr std::uint64_t kMostTreeBytes = 64 << 10;
inline constexpr std::size_t kMostCommandLineBytes = 4096;

struct TreeOptions {
  std::uint64_t memory_bytes = 0;
  unsigned harts = 1;
  std::string command_line = "";   // /chosen/bootargs; empty: none
  std::uint64_t initrd_begin = 0;  // equal to initrd_end: there is none
  std::uint64_t initrd_end = 0;
  std::optional<RngSeed> rng_seed = std::nullopt;  // /chosen/rng-seed
};

// Needs:   a command line of at most kMostCommandLineBytes.
// Errors:  kInternal  libfdt refused; its reason in the message
// Source:  the Devicetree Specification 0.4, and the tree of QEMU's virt machine.
absl::StatusOr<std::vector<std::byte>> make_device_tree(const TreeOptions& options);

}  // namespace vmrun

#endif  // VMRUN_DEVICE_TREE_H_
