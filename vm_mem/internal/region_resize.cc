#include "vm_mem/internal/region_resize.h"

#include <algorithm>

#include "absl/strings/str_format.h"
#include "vm_mem/internal/region_text.h"

namespace vm_mem::internal {
namespace {

std::uint64_t bytes_in(const RegionTree& tree, RegionId id) {
  const auto found = tree.find(id);
  return found.ok() ? (*found)->range.bytes() : 0;
}

absl::Status check_pages(const Region& region, std::uint64_t bytes) {
  const std::uint64_t page = region.mapping->page_bytes();
  if (bytes % page == 0) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrFormat("0x%x bytes for region 0x%x, whose pages in the host have 0x%x", bytes,
                      number_of(region.id), page));
}

// Memory that was cut off before and not given back would show what it held.
absl::Status provide(Region& region, std::uint64_t from, std::uint64_t to) {
  const std::uint64_t there = region.mapping->bytes().size();
  if (from < std::min(to, there)) {
    absl::Status fresh = region.mapping->refresh(from, std::min(to, there) - from);
    if (!fresh.ok()) return fresh;
  }
  return to <= there ? absl::OkStatus() : region.mapping->resize(to);
}

}  // namespace

absl::Status resize_region(PendingChange& change, const RegionTree& published, RegionId id,
                           std::uint64_t bytes) {
  const auto found = change.tree.find(id);
  if (!found.ok()) return found.status();
  const std::uint64_t old_bytes = (*found)->range.bytes();
  const bool is_ram = (*found)->type == RegionType::kRam;
  const std::shared_ptr<Region> region = (*found)->region;
  if (bytes < old_bytes) {
    if (absl::Status unleased = check_unleased(*region); !unleased.ok()) return unleased;
    if (absl::Status complete = check_complete(*region); !complete.ok()) return complete;
  }
  change.cuts.reserve(change.cuts.size() + 1);
  change.growths.reserve(change.growths.size() + 1);
  if (absl::Status resized = change.tree.resize(id, bytes); !resized.ok()) return resized;
  absl::Status backed = is_ram ? check_pages(*region, bytes) : absl::OkStatus();
  if (is_ram && backed.ok() && bytes > old_bytes) {
    backed = provide(*region, std::max(old_bytes, bytes_in(published, id)), bytes);
  }
  if (!backed.ok()) {
    change.tree.resize(id, old_bytes).IgnoreError();  // its place is free
    return backed;
  }
  if (is_ram && bytes < old_bytes) change.cuts.push_back({region, bytes, old_bytes});
  if (is_ram && bytes > old_bytes) change.growths.push_back({region, old_bytes});
  change.edited = true;
  return absl::OkStatus();
}

void mark_growths(const std::vector<Growth>& growths, const RegionTree& published) {
  for (const Growth& growth : growths) {
    DirtyLog* const log = growth.region->dirty_log.load();
    const std::uint64_t to = bytes_in(published, growth.region->id);
    if (log != nullptr && growth.from < to) {
      log->mark(growth.from, to - growth.from, WriteCause::kRemap);
    }
  }
}

void give_back_cuts(const std::vector<Cut>& cuts, const RegionTree& published) {
  for (const Cut& cut : cuts) {
    const std::uint64_t from = std::max(cut.from, bytes_in(published, cut.region->id));
    if (from >= cut.to) continue;
    cut.region->mapping->refresh(from, cut.to - from).IgnoreError();
  }
}

}  // namespace vm_mem::internal
