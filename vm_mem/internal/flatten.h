// What of a tree of overlapping regions is seen where.
#ifndef VM_MEM_INTERNAL_FLATTEN_H_
#define VM_MEM_INTERNAL_FLATTEN_H_

#include <cstddef>
#include <vector>

#include "absl/status/statusor.h"
#include "vm_mem/internal/region_tree.h"
#include "vm_mem/memory_map.h"

namespace vm_mem::internal {

// Containers and aliases inside each other go no deeper than this.
inline constexpr int kMaxRegionDepth = 64;

// In a container the region of the highest priority is seen; where it shows nothing
// (a gap of a container) the next one is. Ranges are clipped to their containers.
// Neighbours that continue each other in the same region become one section.
//
// Errors:  kResourceExhausted  more than `max_sections`, by aliases of containers
//                              usually, or deeper than kMaxRegionDepth
// Cost:    about n log n for n regions of few priorities; a container is walked once
//          for each gap above it and each alias of it.
absl::StatusOr<std::vector<MapSection>> flatten(const RegionTree& tree, std::size_t max_sections);

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_FLATTEN_H_
