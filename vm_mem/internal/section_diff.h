// What differs between two maps.
#ifndef VM_MEM_INTERNAL_SECTION_DIFF_H_
#define VM_MEM_INTERNAL_SECTION_DIFF_H_

#include <span>
#include <vector>

#include "vm_mem/memory_map.h"

namespace vm_mem::internal {

// Points into the sections that were compared.
struct SectionDiff {
  std::vector<const MapSection*> removed;
  std::vector<const MapSection*> added;
  // The same section before and after, but for its dirty log.
  std::vector<const MapSection*> log_stopped;  // as it was
  std::vector<const MapSection*> log_started;  // as it is now
};

// Both are sorted by address. A section that stays as it was is in none of the lists.
SectionDiff compare_sections(std::span<const MapSection> before, std::span<const MapSection> after);

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_SECTION_DIFF_H_
