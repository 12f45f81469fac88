// A change of the map before it is published.
#ifndef VM_MEM_INTERNAL_PENDING_CHANGE_H_
#define VM_MEM_INTERNAL_PENDING_CHANGE_H_

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "vm_mem/internal/region_tree.h"
#include "vm_mem/memory_manager.h"

namespace vm_mem::internal {

struct Removal {
  std::shared_ptr<Region> region;
  RemovePolicy policy = RemovePolicy::kRefuse;
};

// Bytes of RAM that a smaller region no longer shows.
struct Cut {
  std::shared_ptr<Region> region;
  std::uint64_t from = 0;
  std::uint64_t to = 0;
};

// A region that has become longer.
struct Growth {
  std::shared_ptr<Region> region;
  std::uint64_t from = 0;
};

struct PendingChange {
  explicit PendingChange(RegionTree regions) : tree(std::move(regions)) {}

  RegionTree tree;
  std::vector<Removal> removals;
  std::vector<Cut> cuts;
  std::vector<Growth> growths;
  bool edited = false;
};

// While it lives the regions that it has closed take no new leases. commit() leaves it at
// that; otherwise they take them again. For the thread that may change the map.
class ClosedToLeases {
 public:
  ClosedToLeases() = default;
  ClosedToLeases(const ClosedToLeases&) = delete;
  ClosedToLeases& operator=(const ClosedToLeases&) = delete;
  ~ClosedToLeases();

  // A region that somebody has closed already stays his. Leases that exist go on: see
  // check_unleased().
  // Needs:  `region` outlives this object.
  void close(Region& region);
  void commit() { regions_.clear(); }

 private:
  std::vector<Region*> regions_;
};

// Errors:  kUnavailable where `region` is leased; the message names the count
absl::Status check_unleased(const Region& region);

// Errors:  kUnavailable where pages of `region` are still to come
absl::Status check_complete(const Region& region);

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_PENDING_CHANGE_H_
