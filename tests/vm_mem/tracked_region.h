// A table with one region whose writes are tracked, and no memory behind it.
#ifndef TESTS_VM_MEM_TRACKED_REGION_H_
#define TESTS_VM_MEM_TRACKED_REGION_H_

#include <cstdint>
#include <memory>

#include "vm_mem/internal/region_table.h"

namespace vm_test {

inline constexpr vm_mem::RegionId kTrackedRegion{1};

inline void publish_tracked_region(vm_mem::internal::RegionTable& table, std::uint64_t bytes) {
  vm_mem::internal::RegionNode node;
  node.id = kTrackedRegion;
  node.range = vm_mem::GuestRange::make(vm_mem::GuestAddress{0}, bytes).value();
  node.dirty_tracking = vm_mem::DirtyTracking::kOn;
  node.region = std::make_shared<vm_mem::internal::Region>();
  node.region->capacity = bytes;
  node.region->make_dirty_log();
  vm_mem::internal::RegionTree tree(1);
  tree.insert(node);
  table.publish(tree);
}

}  // namespace vm_test

#endif  // TESTS_VM_MEM_TRACKED_REGION_H_
