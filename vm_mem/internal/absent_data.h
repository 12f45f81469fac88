// What of guest memory a save takes from the files of a lazy restore, as it is not there.
#ifndef VM_MEM_INTERNAL_ABSENT_DATA_H_
#define VM_MEM_INTERNAL_ABSENT_DATA_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "vm_mem/internal/guest_ram.h"
#include "vm_mem/internal/lazy_pages.h"
#include "vm_mem/internal/page_stream.h"

namespace vm_mem::internal {

// Pages as `ram` numbers them. What comes meanwhile stays among them: it has the same bytes.
class AbsentData {
 public:
  // Needs:   what else is known of which pages are there is asked for afterwards.
  // Errors:  kDataLoss  a page was damaged, and is poisoned
  static absl::StatusOr<AbsentData> of(const GuestRam& ram);

  bool has(std::uint64_t page) const;
  // Of one region, sorted.
  std::span<const PageInterval> of_region(std::size_t region) const {
    return regions_[region].pages;
  }
  // One of the pages, checked. Errors:  those of stream_pages()
  absl::Status read(std::uint64_t page, std::span<std::byte> to) const;
  // All that `wanted` says.
  absl::Status stream(const std::function<bool(std::uint64_t page)>& wanted, SnapshotIo io,
                      const VisitPages& visit) const;

 private:
  struct Part {
    std::shared_ptr<LazyPages> pages_of;  // null: everything is there
    std::vector<DataRun> runs;            // as the snapshot numbers pages
    std::vector<PageInterval> pages;      // as the memory does
    std::uint64_t first = 0;              // of the region, in the memory
    std::uint64_t first_in_file = 0;
  };

  std::vector<Part> regions_;
};

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_ABSENT_DATA_H_
