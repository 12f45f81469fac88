#include "vm_mem/internal/snapshot_restore.h"

#include <sys/mman.h>

#include <algorithm>
#include <vector>

#include "absl/strings/str_format.h"
#include "vm_mem/guest_copy.h"
#include "vm_mem/internal/guest_ram.h"
#include "vm_mem/internal/host_memory_reservation.h"
#include "vm_mem/internal/lazy_pages.h"
#include "vm_mem/internal/page_stream.h"
#include "vm_mem/internal/recoverable_copy.h"
#include "vm_mem/internal/without_exceptions.h"
#include "vm_mem/simd_memcpy.h"

namespace vm_mem::internal {
namespace {

constexpr std::size_t kPopulatedAtOnce = 16 * kSnapshotPageBytes;

absl::Status lost(const RamRegion& region, std::uint64_t page) {
  return absl::DataLossError(absl::StrFormat(
      "the host cannot provide guest memory at 0x%x any more: the file behind it was shortened, "
      "or its disk is full",
      region.page_address(page)));
}

absl::Status write_zeros(const RamRegion& region, const ByteRun& run) {
  std::byte* const to = region.memory.data() + run.begin;
  const std::size_t bytes = run.end - run.begin;
  if (!region.region->recoverable) {
    if (!is_zero({to, bytes})) fill_guest(to, std::byte{0}, bytes);
    return absl::OkStatus();
  }
  const std::size_t done = fill_guest_or_fault(to, std::byte{0}, bytes);
  if (done == bytes) return absl::OkStatus();
  return lost(region, region.entry.first_page + (run.begin + done) / kSnapshotPageBytes);
}

// Gives whole host pages back where the backing allows, and writes zeros to the rest. Not huge
// pages of a pool: others could take them from there.
absl::Status make_zero(const RamRegion& region, const ByteRun& run) {
  HostMapping& mapping = *region.region->mapping;
  const std::uint64_t page = mapping.page_bytes();
  const std::uint64_t begin = (run.begin + page - 1) / page * page;
  const std::uint64_t end = run.end / page * page;
  if (page != host_page_bytes() || begin >= end || !mapping.discard(begin, end - begin).ok()) {
    return write_zeros(region, run);
  }
  if (run.begin < begin) {
    if (absl::Status done = write_zeros(region, {run.begin, begin}); !done.ok()) return done;
  }
  return end < run.end ? write_zeros(region, {end, run.end}) : absl::OkStatus();
}

class Restore {
 public:
  Restore(const GuestRam& ram, const SnapshotChain& chain, const SnapshotRestoreOptions& options,
          const std::vector<bool>& wanted)
      : ram_(ram), chain_(chain), options_(options), wanted_(wanted) {
    const std::vector<DataRun> runs = chain.data_runs();
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      populated_.emplace_back();
      if (!wanted[i]) continue;
      const RamRegion& region = ram.regions()[i];
      append_part(runs, region.first_page(), region.end_page(), runs_);
      populated_.back() = region.populated();
      is_fresh_ = is_fresh_ && populated_.back().empty();
    }
  }

  absl::Status run() {
    std::vector<DataRun> in_file_order = runs_;
    sort_by_place(in_file_order);
    const bool reads_twice = options_.check == RestoreCheck::kBefore && !is_fresh_;
    PageProgress progress(options_.progress);
    progress.expect(page_count_of(in_file_order) * (reads_twice ? 2 : 1));
    if (reads_twice) {
      const auto nothing = [](std::uint32_t, std::span<const std::byte>) {
        return absl::OkStatus();
      };
      const absl::Status sound =
          stream_pages(chain_, in_file_order, options_.io, progress, nothing);
      if (!sound.ok()) return sound;
    }
    // From here on memory changes: whatever ends it, that is undone where it can be, and marked.
    absl::Status restored = without_exceptions([&] {
      absl::Status written = write(in_file_order, progress);
      return written.ok() ? progress.finish() : written;
    });
    if (!restored.ok()) restored = without_exceptions([&] { return undo(restored); });
    mark();
    return restored;
  }

 private:
  absl::Status write(std::span<const DataRun> in_file_order, PageProgress& progress) {
    for (std::size_t i = 0; i < populated_.size(); ++i) {
      if (!wanted_[i]) continue;
      if (absl::Status healed = heal(*ram_.regions()[i].region); !healed.ok()) return healed;
      if (absl::Status zeroed = clear_rest(ram_.regions()[i], populated_[i]); !zeroed.ok()) {
        return zeroed;
      }
    }
    return stream_pages(chain_, in_file_order, options_.io, progress,
                        [this](std::uint32_t first, std::span<const std::byte> pages) {
                          return write_pages(first, pages);
                        });
  }

  // What is populated, and zero in the snapshot.
  absl::Status clear_rest(const RamRegion& region, std::span<const ByteRun> populated) const {
    const std::uint64_t first = region.entry.first_page;
    auto run = std::ranges::upper_bound(runs_, first, {}, &DataRun::end);
    for (const ByteRun& there : populated) {
      std::uint64_t at = first + there.begin / kSnapshotPageBytes;
      const std::uint64_t end = first + there.end / kSnapshotPageBytes;
      while (at < end) {
        while (run != runs_.end() && run->end() <= at) ++run;
        const std::uint64_t data =
            run == runs_.end() ? end : std::min<std::uint64_t>(end, run->first);
        if (at < data) {
          const absl::Status zeroed =
              make_zero(region, {.begin = (at - first) * kSnapshotPageBytes,
                                 .end = (data - first) * kSnapshotPageBytes});
          if (!zeroed.ok()) return zeroed;
        }
        at = run == runs_.end() ? end : std::max(at, run->end());
      }
    }
    return absl::OkStatus();
  }

  // They may be of several regions.
  absl::Status write_pages(std::uint64_t first, std::span<const std::byte> pages) const {
    while (!pages.empty()) {
      const RamRegion& region = ram_.region_of(first);
      const std::uint64_t offset = (first - region.entry.first_page) * kSnapshotPageBytes;
      const std::size_t bytes = std::min<std::size_t>(pages.size(), region.memory.size() - offset);
      std::byte* const to = region.memory.data() + offset;
      if (!region.region->recoverable) {
        if (is_fresh_ && bytes >= kPopulatedAtOnce && region.mapping().is_anonymous()) {
          ::madvise(to, bytes, MADV_POPULATE_WRITE);  // where the host can, saves most faults
        }
        copy_to_guest(to, pages.data(), bytes);
      } else if (const std::size_t done = copy_to_guest_or_fault(to, pages.data(), bytes);
                 done != bytes) {
        return lost(region, first + done / kSnapshotPageBytes);
      }
      pages = pages.subspan(bytes);
      first += bytes / kSnapshotPageBytes;
    }
    return absl::OkStatus();
  }

  // Memory that nobody had touched before is so again.
  absl::Status undo(const absl::Status& reason) const {
    bool undone = is_fresh_;
    for (std::size_t i = 0; i < wanted_.size(); ++i) {
      if (!is_fresh_ || !wanted_[i]) continue;
      const RamRegion& region = ram_.regions()[i];
      for (const ByteRun& run : region.populated()) {
        undone = make_zero(region, run).ok() && undone;
      }
    }
    if (undone) return reason;
    return {reason.code(),
            absl::StrFormat("%s; guest memory is partly restored", reason.message())};
  }

  void mark() const {
    for (std::size_t i = 0; i < wanted_.size(); ++i) {
      if (wanted_[i]) mark_restored(ram_.regions()[i]);
    }
  }

  const GuestRam& ram_;
  const SnapshotChain& chain_;
  const SnapshotRestoreOptions& options_;
  const std::vector<bool>& wanted_;
  std::vector<DataRun> runs_;  // by page
  std::vector<std::vector<ByteRun>> populated_;
  bool is_fresh_ = true;
};

}  // namespace

absl::Status check_same_regions(const SnapshotFile& file, std::span<const RegionEntry> memory) {
  const std::span<const RegionEntry> wanted = file.regions();
  const auto [want, have] = std::ranges::mismatch(wanted, memory);
  if (want == wanted.end() && have == memory.end()) return absl::OkStatus();
  const auto text = [](const auto at, const auto end) -> std::string {
    if (at == end) return "none more";
    return absl::StrFormat("0x%x bytes at 0x%x", at->bytes, at->begin);
  };
  return absl::FailedPreconditionError(absl::StrFormat(
      "%s: at 0x0: its RAM regions are not those of this memory: it has %s, where this memory has "
      "%s",
      file.file().path, text(want, wanted.end()), text(have, memory.end())));
}

absl::Status check_complete(const SnapshotChain& chain) {
  if (chain.is_complete()) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrFormat("%s: at 0x0: it was opened without the parents that it rests on",
                      chain.youngest().file().path));
}

void mark_restored(const RamRegion& region) {
  DirtyLog* const log = region.region->dirty_log.load();
  if (log != nullptr) log->mark(0, region.entry.bytes);
}

absl::Status check_restorable(const GuestRam& ram, const SnapshotChain& chain,
                              SnapshotLeases leases) {
  absl::Status fits = check_complete(chain);
  if (fits.ok()) fits = check_same_regions(chain.youngest(), ram.entries());
  if (fits.ok()) fits = ram.check_writable();
  if (fits.ok()) fits = ram.check_complete();
  if (fits.ok() && leases == SnapshotLeases::kRefuse) fits = ram.check_unleased();
  return fits;
}

absl::Status restore_regions(const GuestRam& ram, const SnapshotChain& chain,
                             const SnapshotRestoreOptions& options,
                             const std::vector<bool>& wanted) {
  return Restore(ram, chain, options, wanted).run();
}

absl::Status restore_memory(MemoryManager& memory, const SnapshotChain& chain,
                            const SnapshotRestoreOptions& options) {
  const absl::StatusOr<GuestRam> ram = GuestRam::of(memory);
  if (!ram.ok()) return ram.status();
  const absl::Status fits = check_restorable(*ram, chain, options.leases);
  if (!fits.ok()) return fits;
  return restore_regions(*ram, chain, options, std::vector<bool>(ram->regions().size(), true));
}

}  // namespace vm_mem::internal
