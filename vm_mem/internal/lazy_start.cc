// How a lazy restore begins:
//
// 1. all that can be refused is asked for: userfaultfd, buffers, the watch of the memory, the
//    thread, places in the tables;
// 2. memory is given back to the host, and regions that cannot be lazy are restored;
// 3. the working set is read, and the rest begins to be.
#include <fcntl.h>
#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <system_error>
#include <utility>

#include "absl/strings/str_format.h"
#include "vm_mem/host_fault.h"
#include "vm_mem/internal/host_memory_reservation.h"
#include "vm_mem/internal/lazy_run.h"
#include "vm_mem/internal/lazy_signals.h"
#include "vm_mem/internal/page_stream.h"
#include "vm_mem/internal/signals_blocked.h"
#include "vm_mem/internal/snapshot_restore.h"

namespace vm_mem::internal {
namespace {

absl::Status check_around(std::uint64_t bytes) {
  if (std::has_single_bit(bytes) && bytes >= kSnapshotPageBytes &&
      bytes <= std::uint64_t{2} << 20) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrFormat("fault_around_bytes 0x%x: a power of two from 0x1000 to 0x200000", bytes));
}

// Sealed, as the library's own are, so that nobody can cut it.
bool is_memfd(int fd) {
  const int seals = fd < 0 ? -1 : ::fcntl(fd, F_GET_SEALS);
  return seals >= 0 && (seals & F_SEAL_SHRINK) != 0;
}

bool can_be_lazy(const RamRegion& region, LazyShared shared, const Userfaultfd& faults) {
  if (region.mapping().page_bytes() != kSnapshotPageBytes) return false;
  if (region.mapping().is_anonymous()) return true;
  return shared == LazyShared::kLazy && faults.takes_shared_memory() &&
         is_memfd(region.mapping().fd());
}

absl::Status advise(std::span<std::byte> memory, int advice, const char* text) {
  if (::madvise(memory.data(), memory.size(), advice) == 0) return absl::OkStatus();
  return absl::UnavailableError(
      absl::StrFormat("%s of 0x%x bytes failed: errno %d", text, memory.size(), errno));
}

}  // namespace

absl::StatusOr<std::unique_ptr<LazyRun>> LazyRun::start(MemoryManager& memory,
                                                        std::shared_ptr<const Snapshot> snapshot,
                                                        const LazyRestoreOptions& options) {
  if (absl::Status around = check_around(options.fault_around_bytes); !around.ok()) return around;
  const absl::StatusOr<GuestRam> ram = GuestRam::of(memory);
  if (!ram.ok()) return ram.status();
  if (absl::Status fits = check_restorable(*ram, snapshot->files(), options.leases); !fits.ok()) {
    return fits;
  }
  if (snapshot->files().has_frames()) {
    return absl::UnimplementedError(absl::StrFormat(
        "%s: it, or a parent, has compressed pages, which a lazy restore cannot read one by one: "
        "restore it at once, or merge it into a file without compression",
        snapshot->path()));
  }
  std::unique_ptr<LazyRun> run(new LazyRun(memory, options));
  absl::Status ready = run->prepare(*ram, std::move(snapshot));
  if (!ready.ok()) {
    run->detach();
    return ready;
  }
  if (absl::Status taken = run->take_over(*ram); !taken.ok()) {
    const absl::Status given = run->give_back();
    return absl::Status(taken.code(),
                        absl::StrFormat("%s; guest memory is %s", taken.message(),
                                        given.ok() ? "given back, and zero" : "partly restored"));
  }
  run->prefetch();
  if (run->pages_->absent_pages() == 0) {
    run->complete();
  } else if (options.fill) {
    run->start_fill();
  }
  return run;
}

absl::Status LazyRun::prepare(const GuestRam& ram, std::shared_ptr<const Snapshot> snapshot) {
  absl::StatusOr<Userfaultfd> faults = Userfaultfd::open(options_.faults);
  if (!faults.ok()) return faults.status();
  for (const RamRegion& region : ram.regions()) {
    is_lazy_.push_back(can_be_lazy(region, options_.shared, *faults));
    if (is_lazy_.back()) regions_.push_back(region);
  }
  absl::StatusOr<LazyMail> mail = LazyMail::make();
  if (!mail.ok()) return mail.status();
  absl::StatusOr<HostMapping> staging = StagingPool::make_memory();
  if (!staging.ok()) return staging.status();
  LazyLayout layout(snapshot->files(), ram, is_lazy_);
  eager_pages_ = page_count_of(snapshot->files().data_runs()) - layout.data_pages();
  pages_ = std::make_shared<LazyPages>(LazyPages::Parts{.snapshot = std::move(snapshot),
                                                        .layout = std::move(layout),
                                                        .faults = *std::move(faults),
                                                        .mail = *std::move(mail),
                                                        .staging = *std::move(staging)},
                                       options_);
  watched_ = pages_->layout().watched();
  if (absl::Status attached = attach(ram); !attached.ok()) return attached;
  return start_threads();
}

absl::Status LazyRun::attach(const GuestRam& ram) {
  const bool takes_signals = options_.faults == LazyFaults::kInThread;
  if (takes_signals && ram.fault_handler() == FaultHandler::kInstall) {
    if (absl::Status there = install_host_fault_handler(); !there.ok()) return there;
  }
  is_attached_ = true;
  for (const PageInterval& pages : watched_) {
    const LazyRegion& region = pages_->layout().region_of(pages.first);
    absl::Status watched = pages_->faults().watch(region.memory_of(pages));
    if (!watched.ok()) return watched;
  }
  for (const RamRegion& region : regions_) {
    absl::Status ready = advise(region.memory, MADV_DONTFORK, "madvise(MADV_DONTFORK)");
    if (ready.ok() && takes_signals) ready = add_lazy_range(region.memory, pages_.get());
    if (!ready.ok()) return ready;
  }
  return absl::OkStatus();
}

// Signals of the process are for the embedder's threads.
absl::Status LazyRun::start_threads() {
  const SignalsBlocked blocked;
  try {
    own_ = std::thread([this] { serve(); });
  } catch (const std::system_error& error) {
    return absl::ResourceExhaustedError(
        absl::StrFormat("the host starts no thread: errno %d", error.code().value()));
  }
  return absl::OkStatus();
}

absl::Status LazyRun::take_over(const GuestRam& ram) {
  for (const RamRegion& region : regions_) {
    // Where the default is in force, it stays: once switched off it cannot be had again, and
    // the kernel makes no huge page where it was asked to tell of missing ones.
    if (region.mapping().huge_page_advice() == HugePageAdvice::kAlways) {
      advise(region.memory, MADV_NOHUGEPAGE, "").IgnoreError();
    }
    absl::Status given = heal(*region.region);
    if (given.ok()) given = region.region->mapping->discard(0, region.memory.size());
    if (!given.ok()) return given;
    region.region->set_absent(pages_);
    mark_restored(region);
  }
  std::vector<bool> is_eager = is_lazy_;
  is_eager.flip();
  return restore_regions(ram, pages_->chain(), {.io = options_.io}, is_eager);
}

absl::Status LazyRun::give_back() {
  const std::vector<RamRegion> regions = regions_;
  detach();
  absl::Status given;
  for (const RamRegion& region : regions) {
    given.Update(region.region->mapping->discard(0, region.memory.size()));
  }
  return given;
}

// Pages that are zero are not among them, nor those of regions that are there.
LazyRun::Runs LazyRun::working_set_runs() const {
  Runs runs;
  for (const PageRun& run : pages_->chain().youngest().working_set()) {
    append_part(pages_->layout().data(), run.first, std::uint64_t{run.first} + run.count, runs);
  }
  return runs;
}

void LazyRun::prefetch() {
  if (!options_.prefetch) return;
  const Runs wanted = working_set_runs();
  for (const DataRun& run : wanted) {
    for (std::uint64_t page = run.first; page < run.end(); ++page) {
      if (prefetched_.size() >= options_.record_pages) break;
      prefetched_.push_back(GuestAddress{pages_->address_of(page)});
    }
  }
  const std::atomic<bool> never{false};
  bring_all([&] { return pages_->absent_among(wanted); }, LazyCause::kPrefetch, never,
            BlockPipe::kDepth);
}

}  // namespace vm_mem::internal
