// PAGEMAP_SCAN: names that the headers of older systems lack.
//
// Source:  Documentation/admin-guide/mm/pagemap.rst.
#ifndef VM_MEM_INTERNAL_PAGEMAP_SCAN_H_
#define VM_MEM_INTERNAL_PAGEMAP_SCAN_H_

#include <sys/ioctl.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <span>

namespace vm_mem::internal {

inline constexpr std::uint64_t kPageIsWritten = 1 << 1;
inline constexpr std::uint64_t kPageIsPresent = 1 << 3;
inline constexpr std::uint64_t kPageIsSwapped = 1 << 4;
inline constexpr std::uint64_t kScanProtectsMatches = 1 << 0;
inline constexpr std::uint64_t kScanChecksAsync = 1 << 1;

struct PageRegion {
  std::uint64_t start;
  std::uint64_t end;
  std::uint64_t categories;
};

struct PagemapScanArgument {
  std::uint64_t size;
  std::uint64_t flags;
  std::uint64_t start;
  std::uint64_t end;
  std::uint64_t walk_end;
  std::uint64_t regions;
  std::uint64_t region_count;
  std::uint64_t max_pages;
  std::uint64_t category_inverted;
  std::uint64_t category_mask;
  std::uint64_t category_anyof_mask;
  std::uint64_t return_mask;
};

inline constexpr unsigned long kPagemapScan = _IOWR('f', 16, PagemapScanArgument);

// Which pages are wanted.
struct PagemapQuery {
  std::uint64_t flags = 0;
  std::uint64_t all_of = 0;  // alone, for kPageIsWritten: the kernel has a short way for that
  std::uint64_t any_of = 0;  // 0: not asked
};

// Calls `found(begin, end, categories)`, offsets in `memory` and what of that was asked for is
// true of them, for each run of them, ascending. `pagemap` is /proc/self/pagemap.
//
// Errors:  errno; some runs may have been passed on. 0: none
template <typename Found>
int scan_pagemap(int pagemap, std::span<const std::byte> memory, const PagemapQuery& query,
                 Found found) {
  std::array<PageRegion, 512> regions;
  const std::uint64_t begin = reinterpret_cast<std::uintptr_t>(memory.data());
  const std::uint64_t end = begin + memory.size();
  for (std::uint64_t at = begin; at < end;) {
    PagemapScanArgument scan{};
    scan.size = sizeof scan;
    scan.flags = query.flags;
    scan.start = at;
    scan.end = end;
    scan.regions = reinterpret_cast<std::uintptr_t>(regions.data());
    scan.region_count = regions.size();
    scan.category_mask = query.all_of;
    scan.category_anyof_mask = query.any_of;
    scan.return_mask = query.all_of | query.any_of;
    const int count = ioctl(pagemap, kPagemapScan, &scan);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return errno;
    if (scan.walk_end <= at) return EIO;
    for (std::size_t i = 0; i < static_cast<std::size_t>(count); ++i) {
      found(regions[i].start - begin, regions[i].end - begin, regions[i].categories);
    }
    at = scan.walk_end;
  }
  return 0;
}

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_PAGEMAP_SCAN_H_
