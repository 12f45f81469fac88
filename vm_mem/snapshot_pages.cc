#include "vm_mem/snapshot_pages.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <functional>
#include <iterator>
#include <optional>
#include <span>
#include <utility>

#include "vm_mem/internal/crc32c.h"
#include "vm_mem/internal/page_stream.h"
#include "vm_mem/internal/snapshot_chain.h"
#include "vm_mem/internal/snapshot_restore.h"
#include "vm_mem/internal/without_exceptions.h"
#include "vm_mem/simd_memcpy.h"

namespace vm_mem {
namespace {

using internal::DataRun;
using internal::kSnapshotPageBytes;
using internal::SnapshotChain;
using internal::SnapshotFile;

// A data run by where it is in guest memory.
struct Piece {
  std::uint64_t begin = 0;
  DataRun run;

  std::uint64_t end() const { return begin + std::uint64_t{run.count} * kSnapshotPageBytes; }
};

GuestRange range_of(std::uint64_t begin, std::uint64_t end) {
  return *GuestRange::make(GuestAddress{begin}, end - begin);
}

// A run of guest pages may go on in the next region.
std::vector<Piece> pieces_of(const SnapshotFile& file, const std::vector<DataRun>& runs) {
  std::vector<Piece> pieces;
  auto region = file.regions().begin();
  for (DataRun run : runs) {
    while (run.count != 0) {
      while (run.first - region->first_page >= region->bytes / kSnapshotPageBytes) ++region;
      const std::uint64_t in_region = run.first - region->first_page;
      const auto count = static_cast<std::uint32_t>(
          std::min<std::uint64_t>(run.count, region->bytes / kSnapshotPageBytes - in_region));
      DataRun part = run;
      part.count = count;
      pieces.push_back({.begin = region->begin + in_region * kSnapshotPageBytes, .run = part});
      run.first += count;
      run.slot += count;
      run.count -= count;
    }
  }
  return pieces;
}

// Appends, or makes the last one longer.
void add_range(std::vector<GuestRange>& ranges, std::uint64_t begin, std::uint64_t end) {
  if (!ranges.empty() && ranges.back().end().value == begin) {
    begin = ranges.back().begin().value;
    ranges.pop_back();
  }
  ranges.push_back(range_of(begin, end));
}

std::vector<GuestRange> regions_of(const SnapshotChain& chain) {
  std::vector<GuestRange> ranges;
  for (const internal::RegionEntry& region : chain.youngest().regions()) {
    add_range(ranges, region.begin, region.begin + region.bytes);
  }
  return ranges;
}

// What of `ranges` is in `others`, or is not. Both are ascending.
struct Split {
  std::vector<GuestRange> inside;
  std::vector<GuestRange> outside;
};
Split split(const std::vector<GuestRange>& ranges, const std::vector<GuestRange>& others) {
  Split parts;
  auto other = others.begin();
  for (const GuestRange& range : ranges) {
    std::uint64_t at = range.begin().value;
    while (at < range.end().value) {
      while (other != others.end() && other->end().value <= at) ++other;
      const std::uint64_t edge = other == others.end()        ? range.end().value
                                 : other->begin().value <= at ? other->end().value
                                                              : other->begin().value;
      const std::uint64_t end = std::min(edge, range.end().value);
      const bool is_inside = other != others.end() && other->begin().value <= at;
      add_range(is_inside ? parts.inside : parts.outside, at, end);
      at = end;
    }
  }
  return parts;
}

// One snapshot's memory, walked through upwards.
class Side {
 public:
  explicit Side(const SnapshotChain& chain)
      : chain_(chain), pieces_(pieces_of(chain.youngest(), chain.data_runs())) {
    rewind();
  }

  const SnapshotChain& chain() const { return chain_; }
  void rewind() { next_ = pieces_.begin(); }
  // Needs:  no lower address than before.
  void seek(std::uint64_t address) {
    while (next_ != pieces_.end() && next_->end() <= address) ++next_;
  }
  // Up to where it is the same run, or zero, that seek() found.
  std::uint64_t edge(std::uint64_t address) const {
    if (next_ == pieces_.end()) return UINT64_MAX;
    return next_->begin <= address ? next_->end() : next_->begin;
  }
  // What is at the address, of one page; nullopt: it is zero.
  std::optional<DataRun> page_at(std::uint64_t address) const {
    if (next_ == pieces_.end() || next_->begin > address) return std::nullopt;
    const auto pages = static_cast<std::uint32_t>((address - next_->begin) / kSnapshotPageBytes);
    DataRun page = next_->run;
    page.first += pages;
    page.slot += pages;
    page.count = 1;
    return page;
  }
  const SnapshotFile& file_of(const DataRun& run) const { return *chain_.files()[run.file]; }
  std::uint32_t checksum_of(const DataRun& run) const { return file_of(run).checksums()[run.slot]; }

 private:
  const SnapshotChain& chain_;
  std::vector<Piece> pieces_;
  std::vector<Piece>::const_iterator next_;
};

bool is_same_file(const SnapshotFile& one, const SnapshotFile& other) {
  return one.superblock().id == other.superblock().id && one.seal() == other.seal();
}

// Pages of one side that are read together, each to its place in a buffer.
struct Wanted {
  std::vector<DataRun> runs;
  std::vector<std::size_t> places;  // page by page

  void add(const DataRun& page, std::size_t place) {
    places.push_back(place);
    if (!runs.empty()) {
      DataRun& last = runs.back();
      if (last.file == page.file && last.end() == page.first &&
          last.slot + last.count == page.slot) {
        ++last.count;
        return;
      }
    }
    runs.push_back(page);
  }

  // `visit(place, page)` for each of them.
  template <typename Visit>
  absl::Status read(const SnapshotChain& chain, SnapshotIo io, internal::PageProgress& progress,
                    Visit visit) const {
    std::size_t next = 0;
    return internal::stream_pages(
        chain, runs, io, progress, [&](std::uint32_t, std::span<const std::byte> pages) {
          for (; !pages.empty(); pages = pages.subspan(kSnapshotPageBytes)) {
            visit(places[next++], pages.first(kSnapshotPageBytes));
          }
          return absl::OkStatus();
        });
  }
};

class Comparison {
 public:
  Comparison(const SnapshotChain& first, const SnapshotChain& second,
             const SnapshotReadOptions& options)
      : first_(first), second_(second), options_(options), progress_(options.progress) {}

  absl::StatusOr<SnapshotDiff> run() {
    const std::vector<GuestRange> first = regions_of(first_.chain());
    const std::vector<GuestRange> second = regions_of(second_.chain());
    Split parts = split(first, second);
    diff_.only_first = std::move(parts.outside);
    diff_.only_second = split(second, first).outside;

    absl::Status step = walk(
        parts.inside, [&](std::uint64_t at) { add_page(known_, at); },
        [&](std::uint64_t, const Page& one, const Page& other) {
          diff_.read_pages += std::uint64_t{one.has_value()} + std::uint64_t{other.has_value()};
          return absl::OkStatus();
        });
    progress_.expect(diff_.read_pages);
    if (step.ok() && diff_.read_pages != 0) {
      step = walk(
          parts.inside, [](std::uint64_t) {},
          [&](std::uint64_t at, const Page& one, const Page& other) {
            return read_later(at, one, other);
          });
    }
    if (step.ok()) step = read_batch();
    if (step.ok()) step = progress_.finish();
    if (step.ok()) step = compare_states();
    if (!step.ok()) return step;
    join_pages();
    return std::move(diff_);
  }

 private:
  static constexpr std::size_t kBatchPages = 8192;
  using Page = std::optional<DataRun>;

  // `differs(address)` for each page that is known to, `unsure(address, page, page)` for those
  // of which the bytes have to tell.
  template <typename Differs, typename Unsure>
  absl::Status walk(const std::vector<GuestRange>& common, Differs differs, Unsure unsure) {
    first_.rewind();
    second_.rewind();
    for (const GuestRange& range : common) {
      for (std::uint64_t at = range.begin().value; at < range.end().value;) {
        first_.seek(at);
        second_.seek(at);
        const std::uint64_t end = std::min({range.end().value, first_.edge(at), second_.edge(at)});
        if (is_alike(first_.page_at(at), second_.page_at(at))) at = end;
        for (; at < end; at += kSnapshotPageBytes) {
          const Page one = first_.page_at(at);
          const Page other = second_.page_at(at);
          if (checksum(first_, one) != checksum(second_, other)) {
            differs(at);
          } else if (absl::Status kept = unsure(at, one, other); !kept.ok()) {
            return kept;
          }
        }
      }
    }
    return absl::OkStatus();
  }

  // Nothing, or the same page of the same file; and so are then those after it.
  bool is_alike(const Page& one, const Page& other) const {
    if (!one || !other) return !one && !other;
    return one->slot == other->slot && is_same_file(first_.file_of(*one), second_.file_of(*other));
  }

  std::uint32_t checksum(const Side& side, const Page& page) const {
    return page ? side.checksum_of(*page) : zero_checksum_;
  }

  static void add_page(std::vector<GuestRange>& ranges, std::uint64_t at) {
    add_range(ranges, at, at + kSnapshotPageBytes);
  }

  absl::Status read_later(std::uint64_t at, const Page& one, const Page& other) {
    const std::size_t place = addresses_.size();
    addresses_.push_back(at);
    if (one) wanted_first_.add(*one, place);
    if (other) wanted_second_.add(*other, place);
    return addresses_.size() < kBatchPages ? absl::OkStatus() : read_batch();
  }

  std::span<std::byte> page_of_buffer(std::size_t place) {
    return std::span(buffer_).subspan(place * kSnapshotPageBytes, kSnapshotPageBytes);
  }

  // What is left in the buffer is, page by page, the first side's bytes xor the second's: so
  // that it does not matter which side a page is zero on.
  absl::Status read_batch() {
    if (addresses_.empty()) return absl::OkStatus();
    buffer_.assign(addresses_.size() * kSnapshotPageBytes, std::byte{});
    absl::Status read =
        wanted_first_.read(first_.chain(), options_.io, progress_,
                           [&](std::size_t place, std::span<const std::byte> page) {
                             std::memcpy(page_of_buffer(place).data(), page.data(), page.size());
                           });
    if (!read.ok()) return read;
    read = wanted_second_.read(second_.chain(), options_.io, progress_,
                               [&](std::size_t place, std::span<const std::byte> page) {
                                 std::ranges::transform(page_of_buffer(place), page,
                                                        page_of_buffer(place).begin(),
                                                        std::bit_xor<>());
                               });
    if (!read.ok()) return read;
    for (std::size_t place = 0; place < addresses_.size(); ++place) {
      if (!is_zero(page_of_buffer(place))) add_page(found_, addresses_[place]);
    }
    addresses_.clear();
    wanted_first_ = {};
    wanted_second_ = {};
    return absl::OkStatus();
  }

  void join_pages() {
    std::vector<GuestRange> all;
    std::ranges::merge(known_, found_, std::back_inserter(all), {}, &GuestRange::begin,
                       &GuestRange::begin);
    for (const GuestRange& range : all) {
      add_range(diff_.pages, range.begin().value, range.end().value);
    }
  }

  absl::Status compare_states() {
    const SnapshotFile& one = first_.chain().youngest();
    const SnapshotFile& other = second_.chain().youngest();
    if (is_same_file(one, other)) return absl::OkStatus();
    const auto has = [](const SnapshotFile& file, const DeviceState& state) {
      return std::ranges::find(file.states(), state.id, &DeviceState::id) != file.states().end();
    };
    for (const DeviceState& state : other.states()) {
      if (!has(one, state)) diff_.states_only_second.push_back(state.id);
    }
    for (const DeviceState& state : one.states()) {
      if (!has(other, state)) {
        diff_.states_only_first.push_back(state.id);
        continue;
      }
      const absl::StatusOr<DeviceState> mine = one.read_state(state.id);
      if (!mine.ok()) return mine.status();
      const absl::StatusOr<DeviceState> theirs = other.read_state(state.id);
      if (!theirs.ok()) return theirs.status();
      if (mine->version != theirs->version || mine->bytes != theirs->bytes) {
        diff_.states.push_back(state.id);
      }
    }
    return absl::OkStatus();
  }

  Side first_;
  Side second_;
  const SnapshotReadOptions& options_;
  internal::PageProgress progress_;
  const std::uint32_t zero_checksum_ = internal::crc32c(internal::SnapshotPage{});
  SnapshotDiff diff_;
  // Pages that differ: by their checksums, and by their bytes.
  std::vector<GuestRange> known_;
  std::vector<GuestRange> found_;
  // To be read: the addresses, and where their pages are.
  std::vector<std::uint64_t> addresses_;
  Wanted wanted_first_;
  Wanted wanted_second_;
  std::vector<std::byte> buffer_;
};

}  // namespace

std::vector<GuestRange> data_ranges(const Snapshot& snapshot, SnapshotFiles files) {
  const SnapshotChain& chain = snapshot.files();
  const std::size_t depth = files == SnapshotFiles::kYoungest ? 1 : SIZE_MAX;
  std::vector<GuestRange> ranges;
  for (const Piece& piece : pieces_of(chain.youngest(), chain.data_runs(depth))) {
    add_range(ranges, piece.begin, piece.end());
  }
  return ranges;
}

absl::StatusOr<SnapshotDiff> diff_snapshots(const Snapshot& first, const Snapshot& second,
                                            const SnapshotReadOptions& options) {
  return internal::without_exceptions([&]() -> absl::StatusOr<SnapshotDiff> {
    for (const Snapshot* snapshot : {&first, &second}) {
      if (absl::Status complete = check_complete(snapshot->files()); !complete.ok()) {
        return complete;
      }
    }
    return Comparison(first.files(), second.files(), options).run();
  });
}

}  // namespace vm_mem
