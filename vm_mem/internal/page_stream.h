// Reads the data pages of snapshots, several blocks at a time, and compares each with its
// checksum before anybody sees it.
#ifndef VM_MEM_INTERNAL_PAGE_STREAM_H_
#define VM_MEM_INTERNAL_PAGE_STREAM_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "vm_mem/internal/block_pipe.h"
#include "vm_mem/internal/page_progress.h"
#include "vm_mem/internal/snapshot_chain.h"

namespace vm_mem::internal {

// `count` pages from guest page `first` on, checked. Good during the call.
using VisitPages =
    std::function<absl::Status(std::uint32_t first, std::span<const std::byte> pages)>;

// Passes all of `runs` on, in their order; reads are the longer the more of them lie one after
// the other in a file. `depth` of them are under way at a time, at most.
//
// Errors:  kDataLoss   with file, offset and guest address
//          of the host, of `visit`, and kCancelled
absl::Status stream_pages(const SnapshotChain& chain, std::span<const DataRun> runs, SnapshotIo io,
                          PageProgress& progress, const VisitPages& visit,
                          std::size_t depth = BlockPipe::kDepth);

// What is wrong with a page that is not what its checksum says.
absl::Status mismatch(const SnapshotFile& file, std::uint64_t slot, std::uint64_t guest_address);

// In the order in which they lie in their files.
void sort_by_place(std::vector<DataRun>& runs);

std::uint64_t page_count_of(std::span<const DataRun> runs);

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_PAGE_STREAM_H_
