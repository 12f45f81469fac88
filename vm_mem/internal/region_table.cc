#include "vm_mem/internal/region_table.h"

#include <cstdint>
#include <string>

#include "absl/strings/str_format.h"

namespace vm_mem::internal {
namespace {

constexpr std::uint64_t kRegionAlignment = 4096;

std::string text_of(GuestRange range) {
  return absl::StrFormat("[0x%x, 0x%x)", range.begin().value, range.end().value);
}

std::uint64_t number_of(RegionId id) { return static_cast<std::uint64_t>(id); }

absl::Status no_such_region(RegionId id) {
  return absl::NotFoundError(absl::StrFormat("no region 0x%x", number_of(id)));
}

absl::Status check_shape(GuestRange range) {
  if (range.empty()) {
    return absl::InvalidArgumentError(absl::StrFormat("empty range at 0x%x", range.begin().value));
  }
  if ((range.begin().value | range.bytes()) % kRegionAlignment != 0) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "range %s does not begin and end at multiples of 0x%x", text_of(range), kRegionAlignment));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status RegionTable::check_new(GuestRange range) const {
  if (absl::Status shape = check_shape(range); !shape.ok()) return shape;
  const std::lock_guard lock(mutex_);
  // Regions do not overlap each other: only the last one that begins below the end
  // of `range` can overlap it.
  const auto after = by_address_.lower_bound(range.end());
  if (after != by_address_.begin()) {
    const Region& below = *std::prev(after)->second;
    if (below.range.overlaps(range)) {
      return absl::AlreadyExistsError(absl::StrFormat("range %s overlaps region 0x%x at %s",
                                                      text_of(range), number_of(below.id),
                                                      text_of(below.range)));
    }
  }
  if (by_id_.size() >= max_regions_) {
    return absl::ResourceExhaustedError(
        absl::StrFormat("the limit of 0x%x regions is reached", max_regions_));
  }
  return absl::OkStatus();
}

RegionId RegionTable::insert(const std::shared_ptr<Region>& region) {
  const std::lock_guard lock(mutex_);
  region->id = RegionId{++last_id_};
  by_id_.emplace(region->id, region);
  by_address_.emplace(region->range.begin(), region);
  return region->id;
}

void RegionTable::erase(const Region& region) noexcept {
  const std::lock_guard lock(mutex_);
  by_address_.erase(region.range.begin());
  by_id_.erase(region.id);
}

absl::StatusOr<std::shared_ptr<const Region>> RegionTable::find_removable(RegionId id) const {
  const std::lock_guard lock(mutex_);
  const auto found = by_id_.find(id);
  if (found == by_id_.end()) return no_such_region(id);
  for (const auto& [address, other] : by_address_) {
    if (other->target == found->second) {
      return absl::FailedPreconditionError(
          absl::StrFormat("region 0x%x is shown by alias 0x%x at %s", number_of(id),
                          number_of(other->id), text_of(other->range)));
    }
  }
  return found->second;
}

absl::StatusOr<std::shared_ptr<const Region>> RegionTable::find(RegionId id) const {
  const std::lock_guard lock(mutex_);
  const auto found = by_id_.find(id);
  if (found == by_id_.end()) return no_such_region(id);
  return found->second;
}

std::vector<MapSection> RegionTable::sections(const Region* left_out) const {
  const std::lock_guard lock(mutex_);
  std::vector<MapSection> sections;
  sections.reserve(by_address_.size());
  for (const auto& [address, region] : by_address_) {
    if (region.get() != left_out) sections.push_back(section_of(region));
  }
  return sections;
}

}  // namespace vm_mem::internal
