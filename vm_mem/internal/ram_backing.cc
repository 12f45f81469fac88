#include "vm_mem/internal/ram_backing.h"

#include "absl/strings/str_format.h"

namespace vm_mem::internal {
namespace {

absl::Status misplaced(const char* option, const char* backing) {
  return absl::InvalidArgumentError(
      absl::StrFormat("RamOptions::%s is given, which is for Backing::%s alone", option, backing));
}

// An option for another backing is a mistake that would otherwise show as lost data.
absl::Status check_options_of_backing(const RamOptions& options) {
  const bool names_file = !options.file.empty() || options.fd != -1 || options.file_offset != 0;
  if (names_file && options.backing != Backing::kFile) {
    return misplaced("file, fd or file_offset", "kFile");
  }
  if (!options.memory.empty() && options.backing != Backing::kCallerOwned) {
    return misplaced("memory", "kCallerOwned");
  }
  return absl::OkStatus();
}

// A private mapping is writable in any case: what the guest may do can change later.
HostFile file_of(const RamOptions& options) {
  const bool only_read =
      options.sharing == FileSharing::kShared && options.protection != Protection::kReadWrite;
  return {.path = options.file,
          .fd = options.fd,
          .offset = options.file_offset,
          .sharing = options.sharing,
          .access = only_read ? FileAccess::kReadOnly : FileAccess::kReadWrite};
}

}  // namespace

absl::StatusOr<HostMapping> map_ram(std::uint64_t bytes, const RamOptions& options) {
  if (absl::Status fits = check_options_of_backing(options); !fits.ok()) return fits;
  const HostMappingOptions how = {.max_bytes = options.max_bytes, .host = options.host};
  switch (options.backing) {
    case Backing::kAnonymous: return HostMapping::anonymous(bytes, how);
    case Backing::kMemfd: return HostMapping::memfd(bytes, how);
    case Backing::kFile: return HostMapping::file(bytes, file_of(options), how);
    case Backing::kHugetlb: return HostMapping::hugetlb(bytes, options.huge_page_bytes, how);
    case Backing::kCallerOwned: return HostMapping::caller_owned(options.memory, bytes, how);
  }
  return absl::InvalidArgumentError(
      absl::StrFormat("no backing has the number %d", static_cast<int>(options.backing)));
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
