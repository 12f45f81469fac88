#include "vm_mem/internal/region_table.h"

#include <utility>

#include "absl/strings/str_format.h"
#include "vm_mem/internal/region_text.h"

namespace vm_mem::internal {

absl::StatusOr<RegionNode> RegionTable::find_node(RegionId id) const {
  const std::lock_guard lock(mutex_);
  const auto found = tree_.find(id);
  if (!found.ok()) return found.status();
  return **found;
}

absl::StatusOr<std::shared_ptr<DirtyLog>> RegionTable::find_dirty_log(RegionId id) const {
  const absl::StatusOr<RegionNode> node = find_node(id);
  if (!node.ok()) return node.status();
  if (node->dirty_tracking == DirtyTracking::kOn) {
    return std::shared_ptr<DirtyLog>(node->region, node->region->dirty_log.load());
  }
  return absl::FailedPreconditionError(
      absl::StrFormat("writes to region 0x%x are not tracked", number_of(id)));
}

std::vector<TrackedLog> RegionTable::tracked() const {
  const std::lock_guard lock(mutex_);
  std::vector<TrackedLog> tracked;
  for (const RegionNode& node : tree_.nodes()) {
    if (node.dirty_tracking != DirtyTracking::kOn) continue;
    tracked.push_back({.region = node.id,
                       .pages = node.range.bytes() / kDirtyPageBytes,
                       .log = {node.region, node.region->dirty_log.load()}});
  }
  return tracked;
}

std::vector<RegionNode> RegionTable::nodes() const {
  const std::lock_guard lock(mutex_);
  return {tree_.nodes().begin(), tree_.nodes().end()};
}

// The old tree may be the last that holds a region: it goes without the lock.
void RegionTable::publish(RegionTree tree) {
  const std::lock_guard lock(mutex_);
  std::swap(tree_, tree);
}

}  // namespace vm_mem::internal
