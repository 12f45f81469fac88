// The flattened device tree that tells the guest what machine it runs on.
#ifndef VMRUN_DEVICE_TREE_H_
#define VMRUN_DEVICE_TREE_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"

namespace vmrun {

// Errors:  kInternal  libfdt refused; its reason in the message
// Source:  the Devicetree Specification 0.4, and the tree of QEMU's virt machine.
absl::StatusOr<std::vector<std::byte>> make_device_tree(std::uint64_t memory_bytes);

}  // namespace vmrun

#endif  // VMRUN_DEVICE_TREE_H_
