// The regions that exist, and what a new one must satisfy.
#ifndef VM_MEM_INTERNAL_REGION_TABLE_H_
#define VM_MEM_INTERNAL_REGION_TABLE_H_

#include <cstddef>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "vm_mem/internal/region.h"

namespace vm_mem::internal {

// Changes come from one thread at a time; lookups from any.
class RegionTable {
 public:
  explicit RegionTable(std::size_t max_regions) : max_regions_(max_regions) {}

  // Errors:  kInvalidArgument    empty or misaligned range
  //          kAlreadyExists      overlap with a region, named
  //          kResourceExhausted  max_regions reached
  absl::Status check_new(GuestRange range) const;

  // Gives `region` its id. Needs: check_new(region->range) was ok.
  RegionId insert(const std::shared_ptr<Region>& region);
  // Also of a region whose insertion failed half way.
  void erase(const Region& region) noexcept;

  // Errors:  kNotFound; kFailedPrecondition where an alias shows the region.
  absl::StatusOr<std::shared_ptr<const Region>> find_removable(RegionId id) const;
  // Errors:  kNotFound.
  absl::StatusOr<std::shared_ptr<const Region>> find(RegionId id) const;

  // One section a region, sorted by address; none for `left_out`.
  std::vector<MapSection> sections(const Region* left_out = nullptr) const;

 private:
  const std::size_t max_regions_;
  mutable std::mutex mutex_;  // of what follows
  std::map<RegionId, std::shared_ptr<const Region>> by_id_;
  std::map<GuestAddress, std::shared_ptr<const Region>> by_address_;
  std::uint64_t last_id_ = 0;
};

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_REGION_TABLE_H_
