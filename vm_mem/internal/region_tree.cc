#include "vm_mem/internal/region_tree.h"

#include <algorithm>
#include <set>
#include <tuple>
#include <utility>

#include "absl/strings/str_format.h"
#include "vm_mem/internal/region_text.h"

namespace vm_mem::internal {
namespace {

using Child = RegionTree::Child;

bool comes_before(const Child& left, const Child& right) {
  return std::tuple(left.container, right.priority, left.begin) <
         std::tuple(right.container, left.priority, right.begin);
}

// So that the next insertion cannot fail.
void make_room(std::vector<Child>& children) {
  if (children.size() == children.capacity()) children.reserve(2 * children.size() + 8);
}

absl::Status shows_itself(RegionId target, RegionId container) {
  return absl::InvalidArgumentError(
      absl::StrFormat("an alias of container 0x%x inside container 0x%x would show itself",
                      number_of(target), number_of(container)));
}

absl::Status outside_target(GuestRange range, RegionId target, std::uint64_t offset,
                            std::uint64_t available) {
  return absl::InvalidArgumentError(absl::StrFormat(
      "an alias of 0x%x bytes at offset 0x%x of region 0x%x, which has 0x%x bytes, must lie "
      "inside it, at a multiple of 0x%x",
      range.bytes(), offset, number_of(target), available, kRegionAlignment));
}

}  // namespace

std::size_t RegionTree::slot_of(RegionId id) const {
  const auto at =
      std::lower_bound(nodes_.begin(), nodes_.end(), id,
                       [](const RegionNode& node, RegionId of) { return node.id < of; });
  const auto slot = static_cast<std::size_t>(at - nodes_.begin());
  return at != nodes_.end() && at->id == id ? slot : nodes_.size();
}

absl::StatusOr<const RegionNode*> RegionTree::find(RegionId id) const {
  const std::size_t slot = slot_of(id);
  if (slot == nodes_.size()) return no_such_region(id);
  return &nodes_[slot];
}

std::span<const Child> RegionTree::children(RegionId container) const {
  const auto first =
      std::partition_point(children_.begin(), children_.end(),
                           [container](const Child& child) { return child.container < container; });
  const auto last = std::partition_point(first, children_.end(), [container](const Child& child) {
    return child.container == container;
  });
  return {first, last};
}

std::span<const Child> RegionTree::level(RegionId container, int priority) const {
  const std::span<const Child> all = children(container);
  const auto first = std::partition_point(
      all.begin(), all.end(), [priority](const Child& child) { return child.priority > priority; });
  const auto last = std::partition_point(
      first, all.end(), [priority](const Child& child) { return child.priority == priority; });
  return {first, last};
}

absl::Status RegionTree::check_new(GuestRange range, Placement placement) const {
  if (absl::Status shape = check_shape(range); !shape.ok()) return shape;
  if (absl::Status held = check_container(placement.container); !held.ok()) return held;
  if (absl::Status free = check_free(RegionId{}, range, placement); !free.ok()) return free;
  if (nodes_.size() >= max_regions_) {
    return absl::ResourceExhaustedError(
        absl::StrFormat("the limit of 0x%x regions is reached", max_regions_));
  }
  return absl::OkStatus();
}

absl::Status RegionTree::check_container(RegionId container) const {
  if (container == kRootContainer) return absl::OkStatus();
  const auto found = find(container);
  if (!found.ok()) return found.status();
  if ((*found)->type == RegionType::kContainer) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrFormat("region 0x%x is not a container", number_of(container)));
}

// Those of one priority do not overlap, so that their ends are sorted too.
absl::Status RegionTree::check_free(RegionId self, GuestRange range, Placement placement) const {
  const std::span<const Child> peers = level(placement.container, placement.priority);
  auto peer = std::partition_point(peers.begin(), peers.end(), [range](const Child& child) {
    return child.end <= range.begin().value;
  });
  for (; peer != peers.end() && peer->begin < range.end().value; ++peer) {
    const RegionNode& other = node(*peer);
    if (other.id == self) continue;
    return absl::AlreadyExistsError(absl::StrFormat("range %s overlaps region 0x%x at %s",
                                                    text_of(range), number_of(other.id),
                                                    text_of(other.range)));
  }
  return absl::OkStatus();
}

absl::StatusOr<RegionNode> RegionTree::alias_node(GuestRange range, RegionId target,
                                                  std::uint64_t offset, Placement placement) const {
  if (target == kRootContainer) return shows_itself(target, placement.container);
  const auto found = find(target);
  if (!found.ok()) return found.status();
  const RegionNode& named = **found;
  const std::uint64_t available = named.range.bytes();
  if (offset % kRegionAlignment != 0 || offset > available || range.bytes() > available - offset) {
    return outside_target(range, target, offset, available);
  }
  RegionNode alias;
  alias.type = RegionType::kAlias;
  alias.range = range;
  alias.placement = placement;
  const bool chained = named.type == RegionType::kAlias;
  alias.target = chained ? named.target : named.id;
  alias.target_offset = chained ? named.target_offset + offset : offset;
  if (absl::Status open = check_cycle(alias.target, placement.container); !open.ok()) return open;
  return alias;
}

absl::Status RegionTree::check_cycle(RegionId target, RegionId container) const {
  if (nodes_[slot_of(target)].type != RegionType::kContainer) return absl::OkStatus();
  if (!holds(target, container)) return absl::OkStatus();
  return shows_itself(target, container);
}

// Whether `inner` is `outer` or is reached from it, by holding or by showing.
bool RegionTree::holds(RegionId outer, RegionId inner) const {
  std::set<RegionId> reached{outer};
  std::vector<RegionId> open{outer};
  while (!open.empty() && !reached.contains(inner)) {
    const RegionId at = open.back();
    open.pop_back();
    for (const RegionNode& node : nodes_) {
      if (node.placement.container != at) continue;
      const RegionId next = node.type == RegionType::kAlias ? node.target : node.id;
      if (reached.insert(next).second) open.push_back(next);
    }
  }
  return reached.contains(inner);
}

void RegionTree::insert(RegionNode node) {
  make_room(children_);
  nodes_.push_back(std::move(node));
  if (nodes_.back().enabled == Enabled::kYes) index(nodes_.size() - 1);
}

void RegionTree::erase(RegionId id) noexcept {
  const std::size_t slot = slot_of(id);
  if (nodes_[slot].enabled == Enabled::kYes) unindex(slot);
  nodes_.erase(nodes_.begin() + static_cast<std::ptrdiff_t>(slot));
  for (Child& child : children_) child.slot -= child.slot > slot ? 1 : 0;
}

absl::Status RegionTree::check_unshown(const RegionNode& node) const {
  for (const RegionNode& other : nodes_) {
    if (other.placement.container == node.id) {
      return absl::FailedPreconditionError(absl::StrFormat("container 0x%x holds region 0x%x at %s",
                                                           number_of(node.id), number_of(other.id),
                                                           text_of(other.range)));
    }
    if (other.type == RegionType::kAlias && other.target == node.id) {
      return absl::FailedPreconditionError(
          absl::StrFormat("region 0x%x is shown by alias 0x%x at %s", number_of(node.id),
                          number_of(other.id), text_of(other.range)));
    }
  }
  return absl::OkStatus();
}

absl::Status RegionTree::set_enabled(RegionId id, Enabled enabled) {
  const std::size_t slot = slot_of(id);
  if (slot == nodes_.size()) return no_such_region(id);
  RegionNode& node = nodes_[slot];
  if (node.enabled == enabled) return absl::OkStatus();
  if (enabled == Enabled::kYes) {
    if (absl::Status free = check_free(id, node.range, node.placement); !free.ok()) return free;
    make_room(children_);
    index(slot);
  } else {
    unindex(slot);
  }
  node.enabled = enabled;
  return absl::OkStatus();
}

absl::Status RegionTree::set_protection(RegionId id, Protection protection) {
  const std::size_t slot = slot_of(id);
  if (slot == nodes_.size()) return no_such_region(id);
  if (nodes_[slot].type == RegionType::kRom && protection == Protection::kReadWrite) {
    return absl::InvalidArgumentError(
        absl::StrFormat("region 0x%x is ROM: it cannot be written", number_of(id)));
  }
  const std::optional<HostMapping>& mapping = nodes_[slot].region->mapping;
  if (protection == Protection::kReadWrite && mapping && !mapping->writable()) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "region 0x%x is a file that is mapped to be read: add it writable and protect it then",
        number_of(id)));
  }
  nodes_[slot].protection = protection;
  return absl::OkStatus();
}

absl::Status RegionTree::set_dirty_tracking(RegionId id, DirtyTracking tracking) {
  const std::size_t slot = slot_of(id);
  if (slot == nodes_.size()) return no_such_region(id);
  if (nodes_[slot].type != RegionType::kRam) {
    return absl::InvalidArgumentError(
        absl::StrFormat("region 0x%x is not RAM: its writes are not tracked", number_of(id)));
  }
  nodes_[slot].dirty_tracking = tracking;
  return absl::OkStatus();
}

absl::Status RegionTree::move(RegionId id, GuestAddress begin) {
  const auto found = find(id);
  if (!found.ok()) return found.status();
  const std::uint64_t bytes = (*found)->range.bytes();
  const std::optional<GuestRange> range = GuestRange::make(begin, bytes);
  if (range) return place(id, *range);
  return absl::InvalidArgumentError(
      absl::StrFormat("0x%x bytes at 0x%x pass the end of the address space", bytes, begin.value));
}

absl::Status RegionTree::resize(RegionId id, std::uint64_t bytes) {
  const auto found = find(id);
  if (!found.ok()) return found.status();
  const GuestAddress begin = (*found)->range.begin();
  const std::optional<GuestRange> range = GuestRange::make(begin, bytes);
  if (!range) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "0x%x bytes at 0x%x pass the end of the address space", bytes, begin.value));
  }
  if (absl::Status fits = check_size(**found, bytes); !fits.ok()) return fits;
  if (absl::Status shown = check_windows(**found, bytes); !shown.ok()) return shown;
  return place(id, *range);
}

absl::Status RegionTree::check_size(const RegionNode& node, std::uint64_t bytes) const {
  if (node.type == RegionType::kAlias) {
    const RegionNode& target = nodes_[slot_of(node.target)];
    const std::uint64_t available = target.range.bytes();
    if (bytes <= available - node.target_offset) return absl::OkStatus();
    return outside_target(*GuestRange::make(node.range.begin(), bytes), target.id,
                          node.target_offset, available);
  }
  if (!node.region->mapping || bytes <= node.region->capacity) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrFormat("0x%x bytes for region 0x%x, which can have at most 0x%x", bytes,
                      number_of(node.id), node.region->capacity));
}

absl::Status RegionTree::check_windows(const RegionNode& node, std::uint64_t bytes) const {
  for (const RegionNode& other : nodes_) {
    if (other.type != RegionType::kAlias || other.target != node.id) continue;
    if (other.target_offset <= bytes && other.range.bytes() <= bytes - other.target_offset) {
      continue;
    }
    return absl::FailedPreconditionError(absl::StrFormat(
        "alias 0x%x shows 0x%x bytes at offset 0x%x of region 0x%x, which would have 0x%x",
        number_of(other.id), other.range.bytes(), other.target_offset, number_of(node.id), bytes));
  }
  return absl::OkStatus();
}

absl::Status RegionTree::place(RegionId id, GuestRange range) {
  if (absl::Status shape = check_shape(range); !shape.ok()) return shape;
  const std::size_t slot = slot_of(id);
  RegionNode& node = nodes_[slot];
  if (node.enabled == Enabled::kNo) {
    node.range = range;
    return absl::OkStatus();
  }
  if (absl::Status free = check_free(id, range, node.placement); !free.ok()) return free;
  unindex(slot);
  node.range = range;
  index(slot);  // has room: it takes the place that unindex() left
  return absl::OkStatus();
}

void RegionTree::index(std::size_t slot) {
  const RegionNode& node = nodes_[slot];
  const Child child{node.placement.container, node.placement.priority, node.range.begin().value,
                    node.range.end().value, slot};
  children_.insert(std::upper_bound(children_.begin(), children_.end(), child, comes_before),
                   child);
}

void RegionTree::unindex(std::size_t slot) {
  std::erase_if(children_, [slot](const Child& child) { return child.slot == slot; });
}

}  // namespace vm_mem::internal
