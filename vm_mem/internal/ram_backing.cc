#include "vm_mem/internal/ram_backing.h"

namespace vm_mem::internal {

absl::StatusOr<HostMapping> map_ram(std::uint64_t bytes, const RamOptions& options) {
  switch (options.backing) {
    case Backing::kAnonymous: return HostMapping::anonymous(bytes);
    case Backing::kMemfd: return HostMapping::memfd(bytes);
    case Backing::kFile:
    case Backing::kHugetlb:
    case Backing::kCallerOwned: break;
  }
  return absl::UnimplementedError("RAM backed by a file, hugetlb or the caller's memory");
}

bool recovers(const RamOptions& options) {
  switch (options.fault_recovery) {
    case FaultRecovery::kPlain: return false;
    case FaultRecovery::kRecoverable: return true;
    case FaultRecovery::kByBacking: break;
  }
  return options.backing != Backing::kAnonymous && options.backing != Backing::kMemfd;
}

}  // namespace vm_mem::internal
