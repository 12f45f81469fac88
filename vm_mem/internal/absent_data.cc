#include "vm_mem/internal/absent_data.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace vm_mem::internal {

absl::StatusOr<AbsentData> AbsentData::of(const GuestRam& ram) {
  AbsentData data;
  for (const RamRegion& region : ram.regions()) {
    Part part;
    // Nobody else in this library has pages come later.
    part.pages_of = std::static_pointer_cast<LazyPages>(region.region->absent.get());
    if (part.pages_of != nullptr) {
      part.runs = part.pages_of->absent_of(*region.region);
      // After that: what is not absent is there, or is poisoned by now.
      const absl::Status sound = part.pages_of->check_sound(*region.region);
      if (!sound.ok()) return sound;
      part.first = region.first_page();
      part.first_in_file = part.pages_of->layout().find(*region.region)->first;
    }
    for (const DataRun& run : part.runs) {
      const std::uint64_t first = run.first - part.first_in_file + part.first;
      part.pages.push_back({.first = first, .end = first + run.count});
    }
    data.regions_.push_back(std::move(part));
  }
  return data;
}

bool AbsentData::has(std::uint64_t page) const {
  return std::ranges::any_of(regions_, [&](const Part& part) {
    const auto run = std::ranges::upper_bound(part.pages, page, {}, &PageInterval::end);
    return run != part.pages.end() && run->first <= page;
  });
}

absl::Status AbsentData::read(std::uint64_t page, std::span<std::byte> to) const {
  for (const Part& part : regions_) {
    const auto run = std::ranges::upper_bound(part.pages, page, {}, &PageInterval::end);
    if (run == part.pages.end() || run->first > page) continue;
    const DataRun& from = part.runs[static_cast<std::size_t>(run - part.pages.begin())];
    const SnapshotFile& file = *part.pages_of->chain().files()[from.file];
    const std::uint64_t slot = from.slot + (page - run->first);
    absl::Status read = read_exactly(file.calls(), file.file(), SnapshotFile::offset_of(slot), to);
    if (!read.ok() || file.matches(slot, to)) return read;
    return mismatch(file, slot, part.pages_of->address_of(page - part.first + part.first_in_file));
  }
  return absl::InternalError("a page that is not absent");
}

absl::Status AbsentData::stream(const std::function<bool(std::uint64_t)>& wanted, SnapshotIo io,
                                const VisitPages& visit) const {
  const SnapshotProgress nobody;
  for (const Part& part : regions_) {
    std::vector<DataRun> runs;
    for (const DataRun& run : part.runs) {
      for (std::uint64_t page = run.first; page < run.end(); ++page) {
        if (!wanted(page - part.first_in_file + part.first)) continue;
        const bool goes_on = !runs.empty() && runs.back().end() == page && run.first < page;
        if (goes_on) {
          ++runs.back().count;
        } else {
          append_part({&run, 1}, page, page + 1, runs);
        }
      }
    }
    if (runs.empty()) continue;
    sort_by_place(runs);
    PageProgress progress(nobody);
    absl::Status streamed =
        stream_pages(part.pages_of->chain(), runs, io, progress,
                     [&](std::uint32_t first, std::span<const std::byte> pages) {
                       const std::uint64_t page = first - part.first_in_file + part.first;
                       return visit(static_cast<std::uint32_t>(page), pages);
                     });
    if (!streamed.ok()) return streamed;
  }
  return absl::OkStatus();
}

}  // namespace vm_mem::internal
