#include "vm_mem/internal/code_book.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_format.h"
#include "vm_mem/internal/region_text.h"
#include "vm_mem/internal/without_exceptions.h"

namespace vm_mem::internal {
namespace {

absl::Status check_watchable(const RegionNode& node) {
  const std::uint64_t id = number_of(node.id);
  if (node.type == RegionType::kAlias) {
    return absl::FailedPreconditionError(absl::StrFormat(
        "region 0x%x is an alias: its bytes are those of region 0x%x", id, number_of(node.target)));
  }
  if (node.type != RegionType::kRam && node.type != RegionType::kRom) {
    return absl::FailedPreconditionError(absl::StrFormat("region 0x%x is neither RAM nor ROM", id));
  }
  if (node.type == RegionType::kRam && node.region->write_watch.load() == nullptr) {
    return absl::FailedPreconditionError(
        absl::StrFormat("region 0x%x was added without code_watch", id));
  }
  return absl::OkStatus();
}

absl::Status check_range(const CodeRange& range, std::uint64_t bytes) {
  if (range.bytes == 0) {
    return absl::InvalidArgumentError(absl::StrFormat("empty range at offset 0x%x of region 0x%x",
                                                      range.offset, number_of(range.region)));
  }
  if (range.offset < bytes && range.bytes <= bytes - range.offset) return absl::OkStatus();
  return absl::OutOfRangeError(
      absl::StrFormat("0x%x bytes at offset 0x%x are not inside region 0x%x of 0x%x", range.bytes,
                      range.offset, number_of(range.region), bytes));
}

CodeRange whole_pages(const CodeRange& range) {
  const std::uint64_t begin = range.offset / kDirtyPageBytes * kDirtyPageBytes;
  const std::uint64_t end = (range.offset + range.bytes + kDirtyPageBytes - 1) / kDirtyPageBytes;
  return {range.region, begin, end * kDirtyPageBytes - begin};
}

// Whether some byte of `section` is seen again in `added`.
bool is_seen_again(const MapSection& section, std::span<const MapSection* const> added) {
  return std::any_of(added.begin(), added.end(), [&](const MapSection* other) {
    return other->shown == section.shown &&
           other->region_offset < section.region_offset + section.range.bytes() &&
           section.region_offset < other->region_offset + other->range.bytes();
  });
}

}  // namespace

absl::StatusOr<CodeBook::Place> CodeBook::find(const CodeRange& range, Within within) const {
  absl::StatusOr<RegionNode> node = regions_.find_node(range.region);
  if (!node.ok()) return node.status();
  if (absl::Status kind = check_watchable(*node); !kind.ok()) return kind;
  const std::uint64_t bytes =
      within == Within::kRegion ? node->range.bytes() : node->region->capacity;
  if (absl::Status inside = check_range(range, bytes); !inside.ok()) return inside;
  if (node->type == RegionType::kRom) {
    const std::lock_guard lock(rom_mutex_);
    node->region->make_write_watch(watchers_);
  }
  return Place{std::move(node->region), range};
}

absl::StatusOr<std::vector<CodeBook::Place>> CodeBook::find_all(std::span<const CodeRange> ranges,
                                                                Within within) const {
  std::vector<Place> places;
  places.reserve(ranges.size());
  for (const CodeRange& range : ranges) {
    absl::StatusOr<Place> place = find(range, within);
    if (!place.ok()) return place.status();
    places.push_back(*std::move(place));
  }
  return places;
}

absl::StatusOr<CodeStamp> CodeBook::watch(std::span<const CodeRange> ranges) {
  return without_exceptions([&]() -> absl::StatusOr<CodeStamp> {
    bool fresh = false;
    const absl::StatusOr<std::vector<Place>> places = retain(ranges, fresh);
    if (!places.ok()) return places.status();
    if (fresh) {
      if (absl::Status settled = settle(*places); !settled.ok()) {
        give_back(*places);
        return settled;
      }
    }
    return now();
  });
}

absl::StatusOr<std::vector<CodeBook::Place>> CodeBook::retain(std::span<const CodeRange> ranges,
                                                              bool& fresh) {
  absl::StatusOr<std::vector<Place>> places = find_all(ranges, Within::kRegion);
  if (!places.ok()) return places;
  std::size_t done = 0;
  try {
    for (const Place& place : *places) {
      const CodeRange& range = place.range;
      if (place.watch().retain(range.offset, range.bytes, place.log())) fresh = true;
      ++done;
    }
  } catch (...) {
    give_back(std::span(*places).first(done));
    throw;
  }
  return places;
}

void CodeBook::give_back(std::span<const Place> places) {
  for (const Place& place : places) {
    place.watch().release(place.range.offset, place.range.bytes, place.log());
  }
}

absl::Status CodeBook::settle(std::span<const Place> places) {
  std::vector<CodeRange> pages;
  pages.reserve(places.size());
  for (const Place& place : places) {
    if (place.log() != nullptr) pages.push_back(whole_pages(place.range));
  }
  watchers_->guard(pages);
  if (absl::Status passed = run_barrier(); !passed.ok()) return passed;
  for (const Place& place : places) place.watch().settle(place.range.offset, place.range.bytes);
  return absl::OkStatus();
}

absl::Status CodeBook::run_barrier() {
  const std::lock_guard lock(barrier_mutex_);
  if (!barrier_) {
    absl::StatusOr<ProcessBarrier> made = ProcessBarrier::make();
    if (!made.ok()) return made.status();
    barrier_.emplace(*std::move(made));
  }
  return barrier_->run();
}

absl::Status CodeBook::release(std::span<const CodeRange> ranges) {
  return without_exceptions([&]() -> absl::Status {
    const absl::StatusOr<std::vector<Place>> places = find_all(ranges, Within::kCapacity);
    if (!places.ok()) return places.status();
    for (std::size_t i = 0; i < places->size(); ++i) {
      const Place& place = (*places)[i];
      if (place.watch().release(place.range.offset, place.range.bytes, place.log())) continue;
      for (std::size_t undone = 0; undone < i; ++undone) {
        const Place& other = (*places)[undone];
        other.watch().retain(other.range.offset, other.range.bytes, other.log());
      }
      return absl::FailedPreconditionError(
          absl::StrFormat("some of 0x%x bytes at offset 0x%x of region 0x%x is not watched",
                          place.range.bytes, place.range.offset, number_of(place.range.region)));
    }
    return absl::OkStatus();
  });
}

bool CodeBook::written_since(CodeStamp stamp, std::span<const CodeRange> ranges) const {
  return std::any_of(ranges.begin(), ranges.end(), [&](const CodeRange& range) {
    const absl::StatusOr<Place> place = find(range);
    return !place.ok() || place->watch().written_since(stamp, range.offset, range.bytes);
  });
}

absl::Status CodeBook::written(const CodeRange& range, WriteCause cause) {
  const absl::StatusOr<Place> place = find(range);
  if (!place.ok()) return place.status();
  if (place->log() != nullptr) {
    place->log()->mark(range.offset, range.bytes, cause);
  } else {
    place->watch().written(range.offset, range.bytes, kMarkCode, cause);
  }
  return absl::OkStatus();
}

bool CodeBook::is_watched(RegionId region, std::uint64_t offset) const {
  const absl::StatusOr<Place> place = find({region, offset, 1});
  return place.ok() && place->watch().is_watched(offset);
}

void CodeBook::tell(const SectionDiff& diff) {
  for (const MapSection* section : diff.removed) {
    WriteWatch* const watch = owner_of(*section).shown->write_watch.load(std::memory_order_acquire);
    if (watch == nullptr || watch->is_idle()) continue;
    watch->moved(section->region_offset, section->range.bytes(),
                 is_seen_again(*section, diff.added) ? WriteCause::kRemap : WriteCause::kUnmap);
  }
}

}  // namespace vm_mem::internal
