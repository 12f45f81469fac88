// The regions and where they lie, as a value: a change copies it, edits the copy and
// either publishes that or drops it.
#ifndef VM_MEM_INTERNAL_REGION_TREE_H_
#define VM_MEM_INTERNAL_REGION_TREE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "vm_mem/internal/region.h"
#include "vm_mem/region_info.h"

namespace vm_mem::internal {

struct RegionNode {
  RegionId id{};
  RegionType type = RegionType::kRam;
  GuestRange range;  // in its container
  Placement placement;
  Enabled enabled = Enabled::kYes;
  Protection protection = Protection::kReadWrite;
  DirtyTracking dirty_tracking = DirtyTracking::kOff;
  RegionId target{};  // of an alias; never an alias itself
  std::uint64_t target_offset = 0;
  std::shared_ptr<Region> region;
};

// Every member that fails, by a status or by std::bad_alloc, changes nothing.
class RegionTree {
 public:
  // An enabled region among those of its container.
  struct Child {
    RegionId container{};
    int priority = 0;
    std::uint64_t begin = 0;  // in the container
    std::uint64_t end = 0;
    std::size_t slot = 0;
  };

  explicit RegionTree(std::size_t max_regions) : max_regions_(max_regions) {}

  std::span<const RegionNode> nodes() const { return nodes_; }
  // Errors:  kNotFound. The pointer is good until the tree is edited.
  absl::StatusOr<const RegionNode*> find(RegionId id) const;

  // Sorted by falling priority, then by address: those of one priority are a run.
  std::span<const Child> children(RegionId container) const;
  const RegionNode& node(const Child& child) const { return nodes_[child.slot]; }

  // Errors:  kInvalidArgument    empty or misaligned range, no container
  //          kNotFound           the container
  //          kAlreadyExists      overlap with a region of equal priority, named
  //          kResourceExhausted  max_regions reached
  absl::Status check_new(GuestRange range, Placement placement) const;
  // The node of an alias; an alias of an alias shows what that one shows.
  //
  // Errors:  kNotFound, kInvalidArgument (outside its target, or a cycle)
  absl::StatusOr<RegionNode> alias_node(GuestRange range, RegionId target, std::uint64_t offset,
                                        Placement placement) const;
  // Needs:  check_new() was ok; the id is higher than every one before.
  void insert(RegionNode node);
  // Errors:  kFailedPrecondition where an alias shows `node` or it holds others
  absl::Status check_unshown(const RegionNode& node) const;
  // Needs:  it exists, and check_unshown() was ok.
  void erase(RegionId id) noexcept;

  absl::Status set_enabled(RegionId id, Enabled enabled);
  absl::Status set_protection(RegionId id, Protection protection);
  absl::Status set_dirty_tracking(RegionId id, DirtyTracking tracking);
  absl::Status move(RegionId id, GuestAddress begin);
  absl::Status resize(RegionId id, std::uint64_t bytes);

 private:
  std::size_t slot_of(RegionId id) const;
  std::span<const Child> level(RegionId container, int priority) const;
  absl::Status check_free(RegionId self, GuestRange range, Placement placement) const;
  absl::Status check_container(RegionId container) const;
  absl::Status check_cycle(RegionId target, RegionId container) const;
  bool holds(RegionId outer, RegionId inner) const;
  absl::Status check_windows(const RegionNode& node, std::uint64_t bytes) const;
  absl::Status check_size(const RegionNode& node, std::uint64_t bytes) const;
  absl::Status place(RegionId id, GuestRange range);
  void index(std::size_t slot);
  void unindex(std::size_t slot);

  std::size_t max_regions_;
  std::vector<RegionNode> nodes_;  // by id
  std::vector<Child> children_;    // of enabled nodes; by container, priority, address
};

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_REGION_TREE_H_
