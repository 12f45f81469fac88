// Which pages a lazy restore brings, and from where.
#ifndef VM_MEM_INTERNAL_LAZY_LAYOUT_H_
#define VM_MEM_INTERNAL_LAZY_LAYOUT_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "vm_mem/internal/guest_ram.h"
#include "vm_mem/internal/snapshot_chain.h"

namespace vm_mem::internal {

// Pages [first, end), numbered as in the snapshot.
struct PageInterval {
  std::uint64_t first = 0;
  std::uint64_t end = 0;

  std::uint64_t count() const { return end - first; }
};

// Consecutive pages of one region that are zero, or lie one after the other in a file.
struct LazyPiece {
  std::uint64_t first = 0;
  std::uint64_t end = 0;
  bool is_data = false;
  std::uint32_t file = 0;
  std::uint64_t slot = 0;  // of `first`
};

// One of the regions that are restored lazily.
struct LazyRegion {
  const Region* region = nullptr;
  std::weak_ptr<Region> owner;  // the region has who brings its pages
  std::uint64_t address = 0;    // of the guest's
  std::uint64_t first = 0;      // page
  std::uint64_t end = 0;
  std::byte* host = nullptr;

  // Needs:  inside it.
  std::uint64_t page_at(std::uintptr_t at) const {
    return first + (at - reinterpret_cast<std::uintptr_t>(host)) / kSnapshotPageBytes;
  }
  std::byte* memory_of(std::uint64_t page) const {
    return host + (page - first) * kSnapshotPageBytes;
  }
  std::span<std::byte> memory_of(const PageInterval& pages) const {
    return {memory_of(pages.first), pages.count() * kSnapshotPageBytes};
  }
};

// Does not change; lookups are async-signal-safe.
class LazyLayout {
 public:
  // Of those regions of `ram` that `is_lazy` says, one each.
  LazyLayout(const SnapshotChain& chain, const GuestRam& ram, const std::vector<bool>& is_lazy);

  std::span<const LazyRegion> regions() const { return regions_; }
  std::span<const DataRun> data() const { return data_; }  // by page; each of one region
  std::uint64_t data_pages() const { return data_pages_; }
  std::uint64_t page_count() const { return page_count_; }  // of all regions

  // Of a page of a lazy region. Needs:  it is one.
  const LazyRegion& region_of(std::uint64_t page) const;
  // Null: none of them.
  const LazyRegion* region_at(std::uintptr_t host) const;
  const LazyRegion* find(const Region& region) const;
  // What begins at `page` and goes to `end` at most. Needs:  both of one lazy region.
  LazyPiece piece_at(std::uint64_t page, std::uint64_t end) const;
  // What is to be watched: all data, with what is between where that is short. A mapping is
  // split at each end, and there may not be too many.
  std::vector<PageInterval> watched() const;

 private:
  std::vector<PageInterval> watched_with_gaps_of(std::uint64_t pages) const;

  std::vector<LazyRegion> regions_;
  std::vector<DataRun> data_;
  std::uint64_t data_pages_ = 0;
  std::uint64_t page_count_ = 0;
};

// How much one touch brings. Touches that come one after the other bring more each time.
// Async-signal-safe; threads that meet here cost a guess at worst.
class FaultAround {
 public:
  explicit FaultAround(std::uint64_t pages) : pages_(pages) {}

  // Around `page`, inside `within`.
  PageInterval around(std::uint64_t page, const PageInterval& within);

 private:
  static constexpr std::uint64_t kMostPages = (std::uint64_t{2} << 20) / kSnapshotPageBytes;

  struct Walk {
    std::atomic<std::uint64_t> next{0};  // the page after the last that was brought
    std::atomic<std::uint64_t> pages{0};
  };

  std::uint64_t pages_;
  std::array<Walk, 8> walks_;
  std::atomic<std::size_t> oldest_{0};
};

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_LAZY_LAYOUT_H_
