// The published regions, as any thread may ask about them.
#ifndef VM_MEM_INTERNAL_REGION_TABLE_H_
#define VM_MEM_INTERNAL_REGION_TABLE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "absl/status/statusor.h"
#include "vm_mem/internal/region_tree.h"

namespace vm_mem::internal {

// A region whose writes are tracked.
struct TrackedLog {
  RegionId region{};
  std::uint64_t pages = 0;        // that the region has now
  std::shared_ptr<DirtyLog> log;  // keeps the region alive
};

class RegionTable {
 public:
  explicit RegionTable(std::size_t max_regions) : tree_(max_regions) {}

  // Errors:  kNotFound.
  absl::StatusOr<RegionNode> find_node(RegionId id) const;
  // Keeps the region alive.
  //
  // Errors:  kNotFound; kFailedPrecondition where writes are not tracked.
  absl::StatusOr<std::shared_ptr<DirtyLog>> find_dirty_log(RegionId id) const;

  // In order of their ids.
  std::vector<TrackedLog> tracked() const;
  std::vector<RegionNode> nodes() const;

  // For the thread that may call publish(): nobody else changes the tree.
  const RegionTree& tree() const { return tree_; }
  void publish(RegionTree tree);

 private:
  mutable std::mutex mutex_;  // of tree_, except as tree() says
  RegionTree tree_;
};

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_REGION_TABLE_H_
