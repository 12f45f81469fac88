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

absl::Status check_complete(const Region& region) {
  if (!region.absent.is_bringing()) return absl::OkStatus();
  return absl::UnavailableError(
      absl::StrFormat("region 0x%x is being restored, and pages are absent: LazyRestore::finish() "
                      "first",
                      number_of(region.id)));
}

ClosedToLeases::~ClosedToLeases() {
  for (Region* region : regions_) region->leaving.store(false);
}

void ClosedToLeases::close(Region& region) {
  regions_.reserve(regions_.size() + 1);
  if (!region.leaving.exchange(true)) regions_.push_back(&region);
}

}  // namespace vm_mem::internal
