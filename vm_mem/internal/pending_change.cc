#include "vm_mem/internal/pending_change.h"

#include "absl/strings/str_format.h"
#include "vm_mem/internal/region_text.h"

namespace vm_mem::internal {

absl::Status check_unleased(const Region& region) {
  const std::uint64_t leases = region.leases.load();
  if (leases == 0) return absl::OkStatus();
  return absl::UnavailableError(
      absl::StrFormat("region 0x%x is held by 0x%x leases", number_of(region.id), leases));
}

ClosedToLeases::ClosedToLeases(const std::vector<Removal>& removals) : removals_(removals) {
  for (const Removal& removal : removals_) removal.region->leaving.store(true);
}

ClosedToLeases::~ClosedToLeases() {
  if (committed_) return;
  for (const Removal& removal : removals_) removal.region->leaving.store(false);
}

absl::Status ClosedToLeases::check_unused() const {
  for (const Removal& removal : removals_) {
    if (removal.policy == RemovePolicy::kWait) continue;
    if (absl::Status unleased = check_unleased(*removal.region); !unleased.ok()) return unleased;
  }
  return absl::OkStatus();
}

}  // namespace vm_mem::internal
