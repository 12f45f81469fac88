#include "vm_mem/internal/lazy_layout.h"

#include <algorithm>

namespace vm_mem::internal {
namespace {

constexpr std::uint64_t kShortGap = (std::uint64_t{2} << 20) / kSnapshotPageBytes;
constexpr std::size_t kMostWatched = 1024;  // of the 65530 mappings that a process has

}  // namespace

LazyLayout::LazyLayout(const SnapshotChain& chain, const GuestRam& ram,
                       const std::vector<bool>& is_lazy)
    : page_count_(ram.page_count()) {
  const std::vector<DataRun> all = chain.data_runs();
  for (std::size_t i = 0; i < ram.regions().size(); ++i) {
    if (!is_lazy[i]) continue;
    const RamRegion& from = ram.regions()[i];
    regions_.push_back({.region = from.region.get(),
                        .owner = from.region,
                        .address = from.entry.begin,
                        .first = from.first_page(),
                        .end = from.end_page(),
                        .host = from.memory.data()});
    append_part(all, from.first_page(), from.end_page(), data_);
  }
  for (const DataRun& run : data_) data_pages_ += run.count;
}

const LazyRegion& LazyLayout::region_of(std::uint64_t page) const {
  const auto after = std::ranges::upper_bound(regions_, page, {}, &LazyRegion::first);
  return *std::prev(after);
}

const LazyRegion* LazyLayout::region_at(std::uintptr_t host) const {
  for (const LazyRegion& region : regions_) {
    const auto begin = reinterpret_cast<std::uintptr_t>(region.host);
    if (host >= begin && host - begin < (region.end - region.first) * kSnapshotPageBytes) {
      return &region;
    }
  }
  return nullptr;
}

const LazyRegion* LazyLayout::find(const Region& region) const {
  const auto found = std::ranges::find(regions_, &region, &LazyRegion::region);
  return found == regions_.end() ? nullptr : &*found;
}

LazyPiece LazyLayout::piece_at(std::uint64_t page, std::uint64_t end) const {
  const auto run = std::ranges::upper_bound(data_, page, {}, &DataRun::end);
  if (run == data_.end() || run->first > page) {
    const std::uint64_t data = run == data_.end() ? end : run->first;
    return {.first = page, .end = std::min(end, data)};
  }
  return {.first = page,
          .end = std::min(end, run->end()),
          .is_data = true,
          .file = run->file,
          .slot = run->slot + (page - run->first)};
}

std::vector<PageInterval> LazyLayout::watched_with_gaps_of(std::uint64_t pages) const {
  std::vector<PageInterval> all;
  const LazyRegion* region = nullptr;
  for (const DataRun& run : data_) {
    const LazyRegion* const now = &region_of(run.first);
    if (now == region && run.first - all.back().end < pages) {
      all.back().end = run.end();
    } else {
      all.push_back({.first = run.first, .end = run.end()});
    }
    region = now;
  }
  return all;
}

std::vector<PageInterval> LazyLayout::watched() const {
  std::uint64_t gap = kShortGap;
  std::vector<PageInterval> all = watched_with_gaps_of(gap);
  while (all.size() > kMostWatched && gap < page_count_) {
    gap *= 2;
    all = watched_with_gaps_of(gap);
  }
  return all;
}

PageInterval FaultAround::around(std::uint64_t page, const PageInterval& within) {
  for (Walk& walk : walks_) {
    if (pages_ == 1 || walk.next.load(std::memory_order_relaxed) != page) continue;
    const std::uint64_t pages =
        std::clamp(walk.pages.load(std::memory_order_relaxed) * 2, pages_, kMostPages);
    const std::uint64_t end = std::min(page + pages, within.end);
    walk.pages.store(pages, std::memory_order_relaxed);
    walk.next.store(end, std::memory_order_relaxed);
    return {.first = page, .end = end};
  }
  const PageInterval block = {.first = std::max(page / pages_ * pages_, within.first),
                              .end = std::min((page / pages_ + 1) * pages_, within.end)};
  Walk& walk = walks_[oldest_.fetch_add(1, std::memory_order_relaxed) % walks_.size()];
  walk.pages.store(pages_, std::memory_order_relaxed);
  walk.next.store(block.end, std::memory_order_relaxed);
  return block;
}

}  // namespace vm_mem::internal
