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

absl::Status not_watched(const CodeRange& range) {
  return absl::FailedPreconditionError(
      absl::StrFormat("some of 0x%x bytes at offset 0x%x of region 0x%x is not watched",
                      range.bytes, range.offset, number_of(range.region)));
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

std::optional<CodeBook::Place> CodeBook::find_watched(const CodeRange& range) const noexcept {
  try {
    absl::StatusOr<Place> place = find(range);
    if (place.ok()) return *std::move(place);
  } catch (const std::bad_alloc&) {
  }
  return std::nullopt;
}

absl::StatusOr<std::vector<CodeBook::Place>> CodeBook::find_all(
    std::span<const CodeRange> ranges) const {
  std::vector<Place> places;
  places.reserve(ranges.size());
  for (const CodeRange& range : ranges) {
    absl::StatusOr<Place> place = find(range);
    if (!place.ok()) return place.status();
    places.push_back(*std::move(place));
  }
  return places;
}

class CodeBook::Users {
 public:
  explicit Users(std::span<const Place> places) : places_(places) {}
  Users(const Users&) = delete;
  Users& operator=(const Users&) = delete;
  ~Users() {
    for (const Place& place : places_.first(count_)) {
      place.watch().release(place.range.offset, place.range.bytes, place.log());
    }
  }

  // Whether some page is not settled.
  // Errors:  std::bad_alloc.
  bool retain() {
    bool fresh = false;
    for (const Place& place : places_) {
      if (place.watch().retain(place.range.offset, place.range.bytes, place.log())) fresh = true;
      ++count_;
    }
    return fresh;
  }
  // For good.
  void keep() { count_ = 0; }

 private:
  const std::span<const Place> places_;
  std::size_t count_ = 0;
};

absl::StatusOr<CodeStamp> CodeBook::watch(std::span<const CodeRange> ranges) {
  return without_exceptions([&]() -> absl::StatusOr<CodeStamp> {
    const absl::StatusOr<std::vector<Place>> places = find_all(ranges);
    if (!places.ok()) return places.status();
    Users users(*places);
    if (users.retain()) {
      if (absl::Status settled = settle(*places); !settled.ok()) return settled;
    }
    users.keep();
    return now();
  });
}

absl::Status CodeBook::settle(std::span<const Place> places) {
  std::vector<CodeRange> pages;
  pages.reserve(places.size());
  for (const Place& place : places) {
    if (place.log() != nullptr) pages.push_back(whole_pages(place.range));
  }
  if (!watchers_->guard(pages)) {
    return absl::AbortedError("somebody goes on storing without a look at the pages' marks");
  }
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

// What can be released takes no memory: a block that goes must not leave its users behind.
absl::Status CodeBook::release(std::span<const CodeRange> ranges) {
  return without_exceptions([&]() -> absl::Status {
    for (const CodeRange& range : ranges) {
      const absl::StatusOr<Place> place = find(range, Within::kCapacity);
      if (!place.ok()) return place.status();
      if (!place->watch().is_used(range.offset, range.bytes)) return not_watched(range);
    }
    for (const CodeRange& range : ranges) {
      const absl::StatusOr<Place> place = find(range, Within::kCapacity);
      if (!place.ok()) return place.status();
      if (!place->watch().release(range.offset, range.bytes, place->log())) {
        return not_watched(range);
      }
    }
    return absl::OkStatus();
  });
}

bool CodeBook::written_since(CodeStamp stamp, std::span<const CodeRange> ranges) const {
  return std::any_of(ranges.begin(), ranges.end(), [&](const CodeRange& range) {
    const std::optional<Place> place = find_watched(range);
    return !place || place->watch().written_since(stamp, range.offset, range.bytes);
  });
}

absl::Status CodeBook::written(const CodeRange& range, WriteCause cause) {
  return without_exceptions([&]() -> absl::Status {
    const absl::StatusOr<Place> place = find(range);
    if (!place.ok()) return place.status();
    if (place->log() != nullptr) {
      place->log()->mark(range.offset, range.bytes, cause);
    } else {
      place->watch().written(range.offset, range.bytes, kMarkCode, cause);
    }
    return absl::OkStatus();
  });
}

bool CodeBook::is_watched(RegionId region, std::uint64_t offset) const {
  const std::optional<Place> place = find_watched({region, offset, 1});
  return place && place->watch().is_watched(offset);
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
