// Changes of a region's size, host memory included.
#ifndef VM_MEM_INTERNAL_REGION_RESIZE_H_
#define VM_MEM_INTERNAL_REGION_RESIZE_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "vm_mem/internal/pending_change.h"

namespace vm_mem::internal {

// An edit of `change`, whose predecessor is `published`. RAM that grows has its memory
// before anybody sees it. RAM that is cut keeps its host memory mapped, so that accesses
// which still see it end well; only the pages are given back, by give_back_cuts().
//
// Errors:  as RegionTree::resize; kUnavailable where a leased region is cut; those of
//          HostMapping::resize
absl::Status resize_region(PendingChange& change, const RegionTree& published, RegionId id,
                           std::uint64_t bytes);

// Marks what was added as dirty. Needs:  a map of `published` is in force: a harvest takes
// no marks past the end that it knows.
void mark_growths(const std::vector<Growth>& growths, const RegionTree& published);

// Needs:  a map of `published` is in force. Some of what was cut may be seen in it
//         again, and stays.
void give_back_cuts(const std::vector<Cut>& cuts, const RegionTree& published);

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_REGION_RESIZE_H_
