#include "vm_mem/internal/lazy_pages.h"

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/strings/str_format.h"
#include "vm_mem/internal/fault_ranges.h"
#include "vm_mem/internal/signals_blocked.h"

namespace vm_mem::internal {
namespace {

// Counts a thread while it lives.
class Counted {
 public:
  explicit Counted(std::atomic<std::uint32_t>& count) : count_(count) { count_.fetch_add(1); }
  Counted(const Counted&) = delete;
  Counted& operator=(const Counted&) = delete;
  ~Counted() { count_.fetch_sub(1); }

 private:
  std::atomic<std::uint32_t>& count_;
};

// How many of `bytes` were read; where that is less, `failure` says why.
std::size_t read_some(const SnapshotFile& file, std::uint64_t slot, std::span<std::byte> bytes,
                      PageFailure& failure) {
  const std::uint64_t offset = SnapshotFile::offset_of(slot);
  std::size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t now = file.calls().read_at(file.file().fd.get(), bytes.data() + done,
                                             bytes.size() - done, offset + done);
    if (now > 0) {
      done += static_cast<std::size_t>(now);
    } else if (now == 0) {
      failure.kind = PageFailure::Kind::kEndOfFile;
      return done;
    } else if (errno != EINTR) {
      failure.kind = PageFailure::Kind::kNotRead;
      failure.error = errno;
      return done;
    }
  }
  return done;
}

}  // namespace

LazyPages::LazyPages(Parts parts, const LazyRestoreOptions& options)
    : parts_(std::move(parts)),
      on_damage_(options.on_damage),
      staging_(std::move(parts_.staging)),
      around_(options.fault_around_bytes / kSnapshotPageBytes),
      settled_(layout().page_count()),
      poisoned_(layout().page_count()),
      absent_(layout().data_pages()),
      asks_(static_cast<bool>(options.on_damage)),
      touched_(std::min<std::uint64_t>(options.record_pages, layout().data_pages())) {
  settled_.set(0, layout().page_count());
  for (const PageInterval& pages : layout().watched()) settled_.clear(pages.first, pages.end);
}

// Calls `supply(pages)` for each run of [first, end) that is not settled, and settles what it
// did. Returns the errno of what it could not do.
template <typename Supply>
int LazyPages::supply(std::uint64_t first, std::uint64_t end, LazyCause cause, bool is_data,
                      Supply supply) {
  while (first < end) {
    const std::uint64_t chunk_end = std::min(end, (first / kChunkPages + 1) * kChunkPages);
    const FutexGuard locked(lock_of(first));
    for (first = settled_.next_clear(first, chunk_end); first < chunk_end;
         first = settled_.next_clear(first, chunk_end)) {
      const PageInterval run = {.first = first, .end = settled_.next_set(first, chunk_end)};
      const PagesDone done = supply(run);
      // What is there already, nobody knows from where, is no more to come.
      const std::uint64_t there = done.error == EEXIST ? 1 : 0;
      const std::uint64_t count = done.bytes / kSnapshotPageBytes;
      if (is_data) {
        brought_[static_cast<std::size_t>(cause)].fetch_add(count, std::memory_order_relaxed);
        if (cause == LazyCause::kTouch) record(first, first + count);
      }
      settle(first, first + count + there, is_data);
      // Who waits finds all of this done.
      if (faults().has_waiters()) wake({.first = first, .end = first + count + there});
      if (done.error != 0 && there == 0) return done.error;
    }
  }
  return 0;
}

void LazyPages::wake(const PageInterval& pages) {
  if (pages.count() == 0) return;
  faults().wake(layout().region_of(pages.first).memory_of(pages));
}

// Under the lock of the chunk.
void LazyPages::settle(std::uint64_t first, std::uint64_t end, bool is_data) {
  settled_.set(first, end);
  if (!is_data || first == end) return;
  if (absent_.fetch_sub(end - first, std::memory_order_acq_rel) == end - first) {
    mail().post(nullptr);  // that was the last
  }
}

int LazyPages::put_data(std::uint64_t first, std::span<const std::byte> pages, LazyCause cause) {
  const LazyRegion& region = layout().region_of(first);
  return supply(first, first + pages.size() / kSnapshotPageBytes, cause, true,
                [&](const PageInterval& run) {
                  return faults().copy(region.memory_of(run.first),
                                       pages.subspan((run.first - first) * kSnapshotPageBytes,
                                                     run.count() * kSnapshotPageBytes));
                });
}

int LazyPages::put_zeros(const PageInterval& pages, LazyCause cause, bool is_data) {
  const LazyRegion& region = layout().region_of(pages.first);
  return supply(pages.first, pages.end, cause, is_data,
                [&](const PageInterval& run) { return faults().zero(region.memory_of(run)); });
}

// Of a page that was given back to the host since it came.
bool LazyPages::put_zeros_again(std::uint64_t page) {
  const SignalsBlocked blocked;
  const FutexGuard locked(lock_of(page));
  const LazyRegion& region = layout().region_of(page);
  const PagesDone done = faults().zero(region.memory_of({.first = page, .end = page + 1}));
  return done.error == 0 || done.error == EEXIST;
}

bool LazyPages::fault(std::uintptr_t host) {
  const LazyRegion* const region = layout().region_at(host);
  if (region == nullptr) return false;
  const Counted serving(serving_);
  const std::uint64_t page = region->page_at(host);
  if (poisoned_.has(page)) return false;
  if (ending_.load() == Ending::kOver) {
    return is_readable(host / kSnapshotPageBytes * kSnapshotPageBytes);
  }
  bool served = settled_.has(page) && put_zeros_again(page);
  if (!settled_.has(page)) {
    faults_.fetch_add(1, std::memory_order_relaxed);
    bring(around_.around(page, {.first = region->first, .end = region->end}), LazyCause::kTouch);
    served = settled_.has(page) && !poisoned_.has(page);
  }
  // While the watch ends, no page can be supplied; soon none has to be.
  return served || ending_.load() != Ending::kNo;
}

void LazyPages::bring(const PageInterval& pages, LazyCause cause) {
  const Counted bringing(bringing_);
  for (std::uint64_t page = settled_.next_clear(pages.first, pages.end); page < pages.end;
       page = settled_.next_clear(page, pages.end)) {
    const SignalsBlocked blocked;
    const LazyPiece piece = layout().piece_at(page, settled_.next_set(page, pages.end));
    if (piece.is_data) {
      const Brought brought = bring_data(piece, cause);
      if (brought.failure) fail(*brought.failure);
      page = brought.next;
    } else {
      put_zeros({.first = piece.first, .end = piece.end}, cause, false);
      page = piece.end;
    }
  }
}

// As much as fits. Who has a buffer waits for nobody: a failure is dealt with afterwards.
LazyPages::Brought LazyPages::bring_data(const LazyPiece& piece, LazyCause cause) {
  const StagingPool::Loan loan(staging_);
  const std::span<std::byte> staging = loan.bytes();
  const SnapshotFile& file = *chain().files()[piece.file];
  const std::uint64_t wanted =
      std::min(piece.end - piece.first, staging.size() / kSnapshotPageBytes);
  PageFailure failure{.file = piece.file};
  const std::size_t read =
      read_some(file, piece.slot, staging.first(wanted * kSnapshotPageBytes), failure);
  const std::uint64_t there = read / kSnapshotPageBytes;
  std::uint64_t sound = 0;
  while (sound < there &&
         file.matches(piece.slot + sound,
                      staging.subspan(sound * kSnapshotPageBytes, kSnapshotPageBytes))) {
    ++sound;
  }
  if (sound < there) failure.kind = PageFailure::Kind::kMismatch;
  const int error = put_data(piece.first, staging.first(sound * kSnapshotPageBytes), cause);
  if (error != 0) {
    failure.kind = PageFailure::Kind::kNotPlaced;
    failure.error = error;
    sound = settled_.next_clear(piece.first, piece.first + sound) - piece.first;
  }
  if (sound == wanted) return {.next = piece.first + wanted, .failure = {}};
  failure.page = piece.first + sound;
  failure.slot = piece.slot + sound;
  return {.next = piece.first + sound + 1, .failure = failure};
}

void LazyPages::fail(const PageFailure& failure) {
  // Not the file's fault, and it may pass: the page stays absent.
  if (failure.kind == PageFailure::Kind::kNotPlaced) return;
  if (settled_.has(failure.page)) return;
  const LazyDamage wanted = decide(failure);
  // Another thread was asked too, or had more luck; or there are zeros.
  if (settled_.has(failure.page) || wanted != LazyDamage::kPoison) return;
  note(failure);
  poison({.first = failure.page, .end = failure.page + 1});
}

// Of data. The signal may come before the call has returned.
void LazyPages::poison(const PageInterval& pages) {
  const LazyRegion& region = layout().region_of(pages.first);
  supply(pages.first, pages.end, LazyCause::kDamage, true, [&](const PageInterval& run) {
    poisoned_.set(run.first, run.end);
    const PagesDone done = faults().poison(region.memory_of(run));
    if (done.error != 0) {
      poisoned_.clear(run.first + done.bytes / kSnapshotPageBytes, run.end);
    }
    return done;
  });
}

absl::Status LazyPages::install(std::uint64_t first, std::span<const std::byte> pages,
                                LazyCause cause) {
  while (!pages.empty()) {
    const LazyRegion& region = layout().region_of(first);
    const std::uint64_t count = std::min(pages.size() / kSnapshotPageBytes, region.end - first);
    const SignalsBlocked blocked;
    const int error = put_data(first, pages.first(count * kSnapshotPageBytes), cause);
    if (error != 0) {
      return absl::ResourceExhaustedError(
          absl::StrFormat("UFFDIO_COPY of guest memory failed: errno %d", error));
    }
    pages = pages.subspan(count * kSnapshotPageBytes);
    first += count;
  }
  return absl::OkStatus();
}

}  // namespace vm_mem::internal
