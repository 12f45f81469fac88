#include "vm_device/internal/iommu_table.h"

#include <algorithm>
#include <new>
#include <utility>

namespace vm_device::internal {
namespace {

constexpr int kLowestLevel = 5;
constexpr int kIndexBits = 9;
constexpr std::uint64_t kSlots = std::uint64_t{1} << kIndexBits;
constexpr std::uint64_t kPermissions = static_cast<std::uint64_t>(DmaAccess::kReadWrite);
constexpr std::uint64_t kNodeFlags = 63;  // a node's alignment, less one

constexpr int shift_of(int level) { return 12 + kIndexBits * (kLowestLevel - level); }
// Of one slot. Of the whole node, less one: the root's bytes are 2^64.
constexpr std::uint64_t slot_bytes(int level) { return std::uint64_t{1} << shift_of(level); }
constexpr std::uint64_t node_mask(int level) {
  return level == 0 ? UINT64_MAX : slot_bytes(level - 1) - 1;
}
constexpr std::uint64_t index_of(std::uint64_t iova, int level) {
  return (iova & node_mask(level)) >> shift_of(level);
}
constexpr std::uint64_t base_of(std::uint64_t iova, int level) { return iova & ~node_mask(level); }

// The level of the largest page that may stand at `iova`, show `to` and end by `last`.
int level_for(std::uint64_t iova, std::uint64_t last, std::uint64_t to) {
  int level = 0;
  while (((iova | to) & (slot_bytes(level) - 1)) != 0 || last - iova < slot_bytes(level) - 1) {
    ++level;
  }
  return level;
}

template <typename Node>
Node* node_of(std::uint64_t entry) {
  return reinterpret_cast<Node*>(entry & ~kNodeFlags);
}

}  // namespace

IommuTable::~IommuTable() {
  free_tree(root_.load(std::memory_order_relaxed));
  free_nodes(take_unlinked());
}

IommuTable::Place IommuTable::descend(std::uint64_t iova) const {
  const Node* node = root_.load(std::memory_order_acquire);
  for (int level = 0; node != nullptr; ++level) {
    const std::uint64_t index = index_of(iova, level);
    const std::uint64_t entry = node->entries[index].load(std::memory_order_acquire);
    if (!is_node(entry)) return {node, level, index, base_of(iova, level)};
    node = node_of<const Node>(entry);
  }
  return {};
}

IommuTable::Slot IommuTable::slot_of(const Place& place, std::uint64_t entry) {
  const std::uint64_t first = place.base + (place.index << shift_of(place.level));
  return {first, first + (slot_bytes(place.level) - 1), entry & ~(kIommuPageBytes - 1),
          static_cast<std::uint8_t>(entry & kPermissions)};
}

IommuTable::Slot IommuTable::find(std::uint64_t iova) const {
  Slot found{.last = UINT64_MAX};
  find_run(iova, [&](const Slot& slot) {
    found = slot;
    return false;
  });
  return found;
}

std::optional<std::uint64_t> IommuTable::first_mapped(std::uint64_t first,
                                                      std::uint64_t last) const {
  for (Slot slot = find(first);; slot = find(slot.last + 1)) {
    if (slot.mapped()) return std::max(first, slot.first);
    if (slot.last >= last) return std::nullopt;
  }
}

std::optional<std::uint64_t> IommuTable::first_unmapped(std::uint64_t first,
                                                        std::uint64_t last) const {
  for (Slot slot = find(first);; slot = find(slot.last + 1)) {
    if (!slot.mapped()) return std::max(first, slot.first);
    if (slot.last >= last) return std::nullopt;
  }
}

IommuTable::Node* IommuTable::make_node() {
  if (budget_.used.fetch_add(1, std::memory_order_relaxed) < budget_.limit) {
    Node* const node = new (std::nothrow) Node;
    if (node != nullptr) return node;
  }
  budget_.used.fetch_sub(1, std::memory_order_relaxed);
  return nullptr;
}

// Readers find the new node whole: it is filled before it is linked.
IommuTable::Node* IommuTable::child_of(Node& node, std::uint64_t index, std::uint64_t entry) {
  Node* const child = make_node();
  if (child == nullptr) return nullptr;
  if (entry == 0) ++node.used;
  node.entries[index].store(reinterpret_cast<std::uint64_t>(child) | kNodeBit,
                            std::memory_order_release);
  return child;
}

// The node of `level` on the way to `iova`; made where it is missing.
IommuTable::Node* IommuTable::node_for(std::uint64_t iova, int level) {
  Node* node = root_.load(std::memory_order_relaxed);
  if (node == nullptr) root_.store(node = make_node(), std::memory_order_release);
  for (int above = 0; node != nullptr && above < level; ++above) {
    const std::uint64_t index = index_of(iova, above);
    const std::uint64_t entry = node->entries[index].load(std::memory_order_relaxed);
    node = is_node(entry) ? node_of<Node>(entry) : child_of(*node, index, entry);
  }
  return node;
}

// A guest can ask for a range that takes years to fill with small pages.
bool IommuTable::fits(std::uint64_t first, std::uint64_t last, std::uint64_t to) const {
  int level = 0;
  while (((first - to) & (slot_bytes(level) - 1)) != 0) ++level;
  const std::uint64_t nodes = ((last - first) >> shift_of(level)) / kSlots;
  const std::uint64_t used = budget_.used.load(std::memory_order_relaxed);
  return used <= budget_.limit && nodes <= budget_.limit - used;
}

bool IommuTable::insert(std::uint64_t first, std::uint64_t last, std::uint64_t to,
                        DmaAccess permitted) {
  if (!fits(first, last, to)) return false;
  const auto flags = static_cast<std::uint64_t>(permitted);
  std::uint64_t at = first;
  for (;;) {
    const int level = level_for(at, last, to);
    Node* const node = node_for(at, level);
    if (node == nullptr) {
      erase(first, last);  // the nodes on the way to `at`, too
      return false;
    }
    const std::uint64_t step = slot_bytes(level);
    std::uint64_t index = index_of(at, level);
    do {
      node->entries[index].store(to | flags, std::memory_order_release);
      ++node->used;
      if (last - at < step) return true;
      at += step;
      to += step;
    } while (++index <= index_of(UINT64_MAX, level) && last - at >= step - 1);
  }
}

bool IommuTable::split_at(std::uint64_t address) {
  for (;;) {
    const Place place = descend(address);
    if (place.node == nullptr) return true;
    Node& node = const_cast<Node&>(*place.node);
    const std::uint64_t entry = node.entries[place.index].load(std::memory_order_relaxed);
    if (entry == 0 || (address & (slot_bytes(place.level) - 1)) == 0) return true;
    Node* const child = make_node();
    if (child == nullptr) return false;
    for (std::uint64_t i = 0; i < kSlots; ++i) {
      child->entries[i].store(entry + (i << shift_of(place.level + 1)), std::memory_order_relaxed);
    }
    child->used = kSlots;
    node.entries[place.index].store(reinterpret_cast<std::uint64_t>(child) | kNodeBit,
                                    std::memory_order_release);
  }
}

std::uint64_t IommuTable::erase(std::uint64_t first, std::uint64_t last) {
  Node* const root = root_.load(std::memory_order_relaxed);
  return root == nullptr ? 0 : erase_in(*root, 0, 0, first, last);
}

std::uint64_t IommuTable::erase_in(Node& node, int level, std::uint64_t base, std::uint64_t first,
                                   std::uint64_t last) {
  std::uint64_t erased = 0;
  for (std::uint64_t index = index_of(first, level); index <= index_of(last, level); ++index) {
    const std::uint64_t entry = node.entries[index].load(std::memory_order_relaxed);
    if (entry == 0) continue;
    if (is_node(entry)) {
      Node& child = *node_of<Node>(entry);
      const std::uint64_t begin = base + (index << shift_of(level));
      erased += erase_in(child, level + 1, begin, std::max(first, begin),
                         std::min(last, begin + (slot_bytes(level) - 1)));
      if (child.used > 0) continue;
      child.next = std::exchange(unlinked_, &child);
    } else {
      erased += slot_bytes(level);
    }
    node.entries[index].store(0, std::memory_order_release);
    --node.used;
  }
  return erased;
}

IommuTable::Node* IommuTable::take_unlinked() { return std::exchange(unlinked_, nullptr); }

void IommuTable::free_nodes(Node* list) {
  while (list != nullptr) {
    Node* const next = list->next;
    delete list;
    budget_.used.fetch_sub(1, std::memory_order_relaxed);
    list = next;
  }
}

void IommuTable::free_tree(Node* node) {
  if (node == nullptr) return;
  for (const auto& it : node->entries) {
    const std::uint64_t entry = it.load(std::memory_order_relaxed);
    if (is_node(entry)) free_tree(node_of<Node>(entry));
  }
  node->next = nullptr;
  free_nodes(node);
}

}  // namespace vm_device::internal
