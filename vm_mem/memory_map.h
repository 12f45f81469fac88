// An immutable picture of the guest physical address space: which range is
// which region at which host address. A change of the map makes a new picture;
// whoever holds an old one keeps its host mappings alive.
#ifndef VM_MEM_MEMORY_MAP_H_
#define VM_MEM_MEMORY_MAP_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "vm_mem/granule_table.h"
#include "vm_mem/guest_address.h"
#include "vm_mem/protection.h"
#include "vm_mem/region_id.h"

namespace vm_mem {

class MmioHandler;

enum class RegionKind : std::uint8_t { kRam, kRom, kMmio };

// One run of guest addresses with one meaning.
struct MapSection {
  GuestRange range;
  RegionId region{};  // an alias where one shows it, the outermost
  RegionId shown{};   // whose memory or handler it is
  RegionKind kind = RegionKind::kRam;
  Protection protection = Protection::kReadWrite;
  bool recoverable = false;           // an access can fault in the host: it is reported
  std::uint64_t region_offset = 0;    // of range.begin() in `shown`
  std::byte* host = nullptr;          // of range.begin(); null for MMIO
  MmioHandler* handler = nullptr;     // MMIO only
  DirtyLog* dirty_log = nullptr;      // null where nobody asks what is written
  bool dirty_tracked = false;         // harvests cover it
  std::shared_ptr<const void> owner;  // keeps the host memory alive
};

class MemoryMap {
 public:
  MemoryMap() = default;
  // Needs: `sections` sorted by address, none empty, none overlapping.
  // `previous`, which may be null, is a map most of whose sections are the same: what
  // the two can share is not made again.
  MemoryMap(std::vector<MapSection> sections, std::uint64_t generation,
            const MemoryMap* previous = nullptr);

  // The section that holds `address`, or null where nothing is mapped.
  // Cost:  a binary search over the sections.
  const MapSection* find(GuestAddress address) const;

  // The section that begins where `section`, one of this map's, ends, or null.
  const MapSection* next(const MapSection& section) const;

  std::span<const MapSection> sections() const { return sections_; }

  // For accesses that stay within one section.
  const GranuleTable& granules() const { return granules_; }

  // True where some host memory is shown at two guest addresses.
  bool has_aliases() const { return has_aliases_; }

  // Rises with every change of the map; two maps of one manager with equal
  // generations are the same.
  std::uint64_t generation() const { return generation_; }

 private:
  std::vector<MapSection> sections_;
  GranuleTable granules_;
  std::uint64_t generation_ = 0;
  bool has_aliases_ = false;
};

}  // namespace vm_mem

#endif  // VM_MEM_MEMORY_MAP_H_
