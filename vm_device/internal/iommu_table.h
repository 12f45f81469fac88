// The page table of one domain: IOVA -> guest address and permission.
#ifndef VM_DEVICE_INTERNAL_IOMMU_TABLE_H_
#define VM_DEVICE_INTERNAL_IOMMU_TABLE_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "vm_device/dma_segment.h"

namespace vm_device::internal {

inline constexpr std::uint64_t kIommuPageBytes = 4096;

// What the tables of an Iommu may take, counted in nodes.
struct IommuNodeBudget {
  std::uint64_t limit = 0;
  std::atomic<std::uint64_t> used{0};
};

// A radix tree of six levels of 512 entries (the root: 128) over 64-bit addresses. An
// entry is empty, a page (of as many bytes as its level has) or a node of the next level.
//
// find() takes no lock and may run beside one thread that changes the table: entries are
// atomic, and nodes that were unlinked stay until the caller has them freed. Ranges are
// [first, last], both inclusive, in whole pages.
class IommuTable {
 public:
  // The slot that holds an address: a page, or as much of the hole around it as one look
  // shows.
  struct Slot {
    std::uint64_t first = 0;
    std::uint64_t last = 0;
    std::uint64_t to = 0;        // guest address of `first`
    std::uint8_t permitted = 0;  // bits of DmaAccess; 0: a hole

    bool mapped() const { return permitted != 0; }
    bool holds(std::uint64_t address) const { return address - first <= last - first; }
  };

  explicit IommuTable(IommuNodeBudget& budget) : budget_(budget) {}
  IommuTable(const IommuTable&) = delete;
  IommuTable& operator=(const IommuTable&) = delete;
  // Needs:  no reader.
  ~IommuTable();

  Slot find(std::uint64_t iova) const;
  // Calls visit(slot) for the slots from that of `iova` on, in order, until it returns
  // false or its node ends: one descent for many pages.
  template <typename Visit>
  void find_run(std::uint64_t iova, Visit visit) const;

  std::optional<std::uint64_t> first_mapped(std::uint64_t first, std::uint64_t last) const;
  std::optional<std::uint64_t> first_unmapped(std::uint64_t first, std::uint64_t last) const;

  // Needs:   nothing is mapped in the range.
  // Returns: whether there was memory for the nodes; if not, nothing is mapped.
  [[nodiscard]] bool insert(std::uint64_t first, std::uint64_t last, std::uint64_t to,
                            DmaAccess permitted);
  // Splits the page that `address` lies in, so that a page begins there. What is mapped
  // stays the same.
  // Returns: whether there was memory for the nodes.
  [[nodiscard]] bool split_at(std::uint64_t address);
  // Needs:   pages begin at `first` and after `last`.
  // Returns: the bytes that were mapped there.
  std::uint64_t erase(std::uint64_t first, std::uint64_t last);

  // Nodes that erase() has unlinked since; the caller frees them by free_nodes() once no
  // reader can be in them.
  struct Node;
  static const std::size_t kNodeBytes;
  Node* take_unlinked();
  void free_nodes(Node* list);

 private:
  // A node, and which of its slots holds the address that was looked for.
  struct Place {
    const Node* node;
    int level;
    std::uint64_t index;
    std::uint64_t base;  // IOVA of the node's first slot
  };

  static bool is_node(std::uint64_t entry) { return (entry & kNodeBit) != 0; }
  static Slot slot_of(const Place& place, std::uint64_t entry);

  Place descend(std::uint64_t iova) const;
  Node* make_node();
  Node* child_of(Node& node, std::uint64_t index, std::uint64_t entry);
  Node* node_for(std::uint64_t iova, int level);
  bool fits(std::uint64_t first, std::uint64_t last, std::uint64_t to) const;
  std::uint64_t erase_in(Node& node, int level, std::uint64_t base, std::uint64_t first,
                         std::uint64_t last);
  void free_tree(Node* node);

  static constexpr std::uint64_t kNodeBit = 8;  // above the bits of DmaAccess

  IommuNodeBudget& budget_;
  std::atomic<Node*> root_{nullptr};
  Node* unlinked_ = nullptr;
};

struct alignas(64) IommuTable::Node {
  std::array<std::atomic<std::uint64_t>, 512> entries{};
  unsigned used = 0;
  // Once unlinked:
  Node* next = nullptr;
  std::uint64_t epoch = 0;  // for the caller's use
};

inline constexpr std::size_t IommuTable::kNodeBytes = sizeof(Node);

template <typename Visit>
void IommuTable::find_run(std::uint64_t iova, Visit visit) const {
  Place place = descend(iova);
  if (place.node == nullptr) {
    visit(Slot{.last = UINT64_MAX});
    return;
  }
  for (; place.index < place.node->entries.size(); ++place.index) {
    const std::uint64_t entry = place.node->entries[place.index].load(std::memory_order_acquire);
    if (is_node(entry) || !visit(slot_of(place, entry))) return;
  }
}

}  // namespace vm_device::internal

#endif  // VM_DEVICE_INTERNAL_IOMMU_TABLE_H_
