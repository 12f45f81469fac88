// Finds the section of an address in a fixed number of loads, however many there are.
//
// Plan: the address space is cut into blocks of 64 MiB. A block is found by a
// multiplicative hash that has no collisions among the blocks of this map. A block with
// one section has one slot. One with several is cut into granules, of the largest power
// of two (4 KiB .. 32 MiB) for which none holds two sections, and has a slot for each.
// Nothing is compared on the way: an address that is in no section ends in the slot of
// another, or of none, and is out of bounds there.
#ifndef VM_MEM_GRANULE_TABLE_H_
#define VM_MEM_GRANULE_TABLE_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <vector>

#include "vm_mem/guest_address.h"

namespace vm_mem {

class DirtyLog;
struct MapSection;

// DirtyLog's kMarkDirty.
inline constexpr std::uint8_t kMarkedByte = 1;

// What an access that stays within one section needs to know of it.
struct MapSlot {
  // By the binary logarithm of a word's size: how many such words from `begin` on
  // ordinary loads (stores) of the host may access. All, where that is permitted and
  // cannot fault, else none.
  using Limits = std::array<std::uint64_t, 4>;

  std::uint64_t begin = 0;
  std::byte* host = nullptr;  // of `begin`
  Limits loadable{};
  Limits storable{};
  // One byte a page, kMarkedByte where it is marked and nobody is to be told; the mask is 0
  // where there is no log, and the one byte is kMarkedByte then.
  const std::atomic<std::uint8_t>* marks = nullptr;
  std::uint64_t marks_mask = 0;
  DirtyLog* dirty_log = nullptr;    // null where nobody asks what is written
  std::uint64_t region_offset = 0;  // of `begin`

  // Bytes.
  bool loads(std::uint64_t offset, std::uint64_t bytes) const {
    return offset < loadable[0] && bytes <= loadable[0] - offset;
  }
  bool stores(std::uint64_t offset, std::uint64_t bytes) const {
    return offset < storable[0] && bytes <= storable[0] - offset;
  }
  // After a store to it. Needs:  `page` in it, counted from `begin`.
  bool is_marked(std::uint64_t page) const {
    std::atomic_signal_fence(std::memory_order_seq_cst);  // the store comes first
    return marks[page & marks_mask].load(std::memory_order_relaxed) == kMarkedByte;
  }
  // The mark of the page of a byte.
  const std::atomic<std::uint8_t>& mark_of(std::uint64_t offset) const {
    return marks[offset / kGuestPageBytes & marks_mask];
  }

  // The same for [offset, offset + last]; false for more than two pages that are tracked.
  bool are_marked(std::uint64_t offset, std::uint64_t last) const {
    const std::uint64_t first_page = offset / kGuestPageBytes;
    const std::uint64_t last_page = (offset + last) / kGuestPageBytes;
    return is_marked(first_page) && is_marked(last_page) &&
           ((last_page - first_page) & marks_mask) <= 1;
  }

  friend bool operator==(const MapSlot&, const MapSlot&) = default;
};

// The slots of one block: a pointer to each granule's, of at least two. They begin a byte
// after this address, whose last six bits are how far an address is shifted for the number
// of its granule, after that of its block is shifted out. So the shift waits for no load of
// its own, and the slots of the coarsest granules, two in a block, are aligned.
using BlockSlots = const std::byte*;

// The blocks, by hash.
struct BlockIndex {
  static constexpr unsigned kBlockShift = 26;

  std::uint64_t multiplier;
  std::uint64_t hash_shift;

  const BlockSlots* blocks() const { return reinterpret_cast<const BlockSlots*>(this + 1); }

  // The slot of the section that holds `address`, if any does; else any other.
  // Cost:  9 instructions, of which 4 load: of them the block's, the granule's and whatever
  //        the caller then loads of the slot wait for each other.
  [[gnu::always_inline]] const MapSlot& slot_at(std::uint64_t address) const {
    const std::uint64_t hash = ((address >> kBlockShift) * multiplier) >> hash_shift;
    const BlockSlots slots = blocks()[hash];
    const std::uint64_t granule =
        (address << (64 - kBlockShift)) >> (reinterpret_cast<std::uintptr_t>(slots) % 64);
    const MapSlot* slot = nullptr;
    std::memcpy(&slot, slots + 1 + granule * sizeof slot, sizeof slot);
    return *slot;
  }
};

// Immutable. Tables of successive maps share what has not changed.
class GranuleTable {
 public:
  GranuleTable();  // of no section
  // Needs:  `sections` as MemoryMap has them.
  // Cost:   proportional to the sections, the blocks that they touch, and the granules
  //         of the blocks that are not shared with `previous`, which may be null.
  GranuleTable(std::span<const MapSection> sections, const GranuleTable* previous);
  GranuleTable(GranuleTable&&) noexcept;
  GranuleTable& operator=(GranuleTable&&) noexcept;
  ~GranuleTable();

  const BlockIndex& index() const { return index_ == nullptr ? nowhere() : *index_; }
  const MapSlot& slot_at(std::uint64_t address) const { return index().slot_at(address); }

  // In this index every address is out of bounds.
  static const BlockIndex& nowhere();

 private:
  class Builder;
  struct SectionSlot;  // a MapSlot as a block of its own
  struct MixedBlock;   // several slots, and the memory of their granules
  struct FreeIndex {
    void operator()(BlockIndex* index) const;
  };

  std::vector<std::shared_ptr<const SectionSlot>> sections_;  // in order of address
  std::vector<std::shared_ptr<const MixedBlock>> mixed_;      // in order of address
  std::unique_ptr<BlockIndex, FreeIndex> index_;
};

}  // namespace vm_mem

#endif  // VM_MEM_GRANULE_TABLE_H_
