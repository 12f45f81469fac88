// Which machine a snapshot is of, so that the same one is made again.
#ifndef VMRUN_MACHINE_SPEC_H_
#define VMRUN_MACHINE_SPEC_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "tools/vmrun/options.h"
#include "vm_device/state_bytes.h"

namespace vmrun {

// What tells a disk from another: its size, and a hash of some of its blocks.
struct DiskIdentity {
  std::uint64_t bytes = 0;
  bool is_read_only = false;
  std::uint64_t sample = 0;

  friend bool operator==(const DiskIdentity&, const DiskIdentity&) = default;
};

// What was written before is on stable storage afterwards.
// Errors:  kUnavailable  the host refused; the message is "<path>: <reason>"
absl::StatusOr<DiskIdentity> identify_disk(const DiskFile& disk);

enum class ConsoleKind : std::uint8_t { kNone, kFile, kUser };

struct MachineSpec {
  static constexpr std::uint32_t kVersion = 1;

  std::uint64_t memory_bytes = 0;
  std::uint32_t harts = 0;
  bool has_iommu = false;
  bool has_rng = false;
  std::optional<std::uint64_t> seed = std::nullopt;
  ConsoleKind console = ConsoleKind::kNone;
  std::vector<DiskIdentity> disks = {};
  std::vector<NetKind> nets = {};

  void save(vm_device::StateWriter& to) const;
  // Errors:  kDataLoss: no machine can be like that.
  absl::Status load(vm_device::StateReader& from);
};

// Errors:  those of identify_disk()
absl::StatusOr<MachineSpec> spec_of(const Options& options);

// Makes the options those of the machine, as far as the user has said nothing.
//
// Errors:  kInvalidArgument  what the user has said is not of that machine, or is missing; one
//                            line that names the option
absl::Status adopt(const MachineSpec& spec, Options& options);

}  // namespace vmrun

#endif  // VMRUN_MACHINE_SPEC_H_
