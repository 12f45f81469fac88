// What of LazyPages is for ordinary threads: system calls, saves, questions about damage.
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>

#include "absl/strings/str_format.h"
#include "vm_mem/internal/lazy_pages.h"
#include "vm_mem/internal/page_stream.h"
#include "vm_mem/internal/signals_blocked.h"

namespace vm_mem::internal {
namespace {

PageInterval pages_of(const LazyRegion& region, std::uint64_t offset, std::uint64_t bytes) {
  const std::uint64_t first = region.first + offset / kSnapshotPageBytes;
  const std::uint64_t end =
      region.first + (offset + bytes + kSnapshotPageBytes - 1) / kSnapshotPageBytes;
  return {.first = std::min(first, region.end), .end = std::min(end, region.end)};
}

long this_thread() { return ::syscall(SYS_gettid); }

}  // namespace

absl::Status LazyPages::bring(const Region& region, std::uint64_t offset, std::uint64_t bytes) {
  const LazyRegion* const found = layout().find(region);
  if (found == nullptr) return absl::OkStatus();
  const PageInterval pages = pages_of(*found, offset, bytes);
  bring(pages, LazyCause::kAsked);
  if (absl::Status sound = check_sound(pages); !sound.ok()) return sound;
  const std::uint64_t absent = settled_.next_clear(pages.first, pages.end);
  if (absent == pages.end || ending_.load() != Ending::kNo) return absl::OkStatus();
  return absl::UnavailableError(
      absl::StrFormat("guest memory at 0x%x could not be brought", address_of(absent)));
}

absl::Status LazyPages::give_up(const Region& region, std::uint64_t offset, std::uint64_t bytes,
                                const Discard& discard) {
  const LazyRegion* const found = layout().find(region);
  const PageInterval pages = found == nullptr ? PageInterval{} : pages_of(*found, offset, bytes);
  std::uint64_t done = 0;
  for (std::uint64_t page = pages.first; page < pages.end;) {
    const std::uint64_t end = std::min(pages.end, (page / kChunkPages + 1) * kChunkPages);
    const PageInterval part = {.first = page, .end = end};
    const std::uint64_t part_bytes = part.count() * kSnapshotPageBytes;
    const SignalsBlocked blocked;
    const FutexGuard locked(lock_of(page));
    if (absl::Status given = discard(offset + done, part_bytes); !given.ok()) return given;
    unpoison(*found, part);
    settle_all(part);
    done += part_bytes;
    page = end;
  }
  // What the region has grown by since.
  return done < bytes ? discard(offset + done, bytes - done) : absl::OkStatus();
}

// Under the lock of the chunk, of pages that the host has taken back.
void LazyPages::unpoison(const LazyRegion& region, const PageInterval& pages) {
  if (poisoned_.next_set(pages.first, pages.end) == pages.end) return;
  // Where the host could do no better than to protect them.
  const std::span<std::byte> memory = region.memory_of(pages);
  ::mprotect(memory.data(), memory.size(), PROT_READ | PROT_WRITE);
  poisoned_.clear(pages.first, pages.end);
}

// Under the lock of the chunk.
void LazyPages::settle_all(const PageInterval& pages) {
  for (std::uint64_t page = settled_.next_clear(pages.first, pages.end); page < pages.end;
       page = settled_.next_clear(page, pages.end)) {
    const LazyPiece piece = layout().piece_at(page, settled_.next_set(page, pages.end));
    settle(piece.first, piece.end, piece.is_data);
    page = piece.end;
  }
}

absl::Status LazyPages::heal(const Region& region, const Discard& discard) {
  const LazyRegion* const found = layout().find(region);
  if (found == nullptr) return absl::OkStatus();
  for (std::uint64_t page = poisoned_.next_set(found->first, found->end); page < found->end;
       page = poisoned_.next_set(page, found->end)) {
    const std::uint64_t end = poisoned_.next_clear(page, found->end);
    absl::Status given = give_up(region, (page - found->first) * kSnapshotPageBytes,
                                 (end - page) * kSnapshotPageBytes, discard);
    if (!given.ok()) return given;
  }
  return absl::OkStatus();
}

absl::Status heal(Region& region) {
  // Nobody else in this library has pages come later.
  const auto pages = std::static_pointer_cast<LazyPages>(region.absent.get());
  if (pages == nullptr) return absl::OkStatus();
  absl::Status healed = pages->heal(region, [&](std::uint64_t offset, std::uint64_t bytes) {
    return region.mapping->discard(offset, bytes);
  });
  if (healed.ok()) region.set_absent(nullptr);
  return healed;
}

absl::Status LazyPages::check_sound(const PageInterval& pages) const {
  const std::uint64_t page = poisoned_.next_set(pages.first, pages.end);
  if (page == pages.end) return absl::OkStatus();
  const absl::Status first = first_failure();
  return absl::DataLossError(absl::StrFormat(
      "guest memory at 0x%x was not restored, and is poisoned: %s", address_of(page),
      first.ok() ? "the lazy restore was ended before" : first.message()));
}

absl::Status LazyPages::check_sound(const Region& region) const {
  const LazyRegion* const found = layout().find(region);
  return found == nullptr ? absl::OkStatus()
                          : check_sound({.first = found->first, .end = found->end});
}

std::uint64_t LazyPages::address_of(std::uint64_t page) const {
  const LazyRegion& region = layout().region_of(page);
  return region.address + (page - region.first) * kSnapshotPageBytes;
}

bool LazyPages::is_poisoned(std::uintptr_t host) const {
  const LazyRegion* const region = layout().region_at(host);
  return region != nullptr && poisoned_.has(region->page_at(host));
}

std::vector<DataRun> LazyPages::absent_among(std::span<const DataRun> among) const {
  std::vector<DataRun> runs;
  for (const DataRun& run : among) {
    std::uint64_t page = settled_.next_clear(run.first, run.end());
    while (page < run.end()) {
      const std::uint64_t end = settled_.next_set(page, run.end());
      append_part({&run, 1}, page, end, runs);
      page = settled_.next_clear(end, run.end());
    }
  }
  return runs;
}

void LazyPages::wait_for_supplies() const {
  for (FutexLock& lock : locks_) {
    const SignalsBlocked blocked;
    const FutexGuard locked(lock);
  }
}

// What is among them was not written by now.
std::vector<DataRun> LazyPages::absent_of(const Region& region) const {
  wait_for_supplies();
  const LazyRegion* const found = layout().find(region);
  std::vector<DataRun> runs;
  if (found != nullptr) append_part(layout().data(), found->first, found->end, runs);
  return absent_among(runs);
}

void LazyPages::abandon() {
  for (const DataRun& run : layout().data()) {
    const SignalsBlocked blocked;
    poison({.first = run.first, .end = run.end()});
  }
}

void LazyPages::record(std::uint64_t first, std::uint64_t end) {
  std::uint64_t at = touched_count_.fetch_add(end - first, std::memory_order_relaxed);
  for (std::uint64_t page = first; page < end && at < touched_.size(); ++page, ++at) {
    touched_[at].store(static_cast<std::uint32_t>(page + 1), std::memory_order_relaxed);
  }
}

std::vector<std::uint64_t> LazyPages::touched() const {
  wait_for_supplies();
  std::vector<std::uint64_t> pages;
  const std::uint64_t count = std::min<std::uint64_t>(touched_count_.load(), touched_.size());
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::uint32_t next = touched_[i].load(std::memory_order_relaxed);
    if (next != 0) pages.push_back(next - 1);
  }
  return pages;
}

void LazyPages::answer_here() { own_thread_.store(this_thread()); }

LazyDamage LazyPages::decide(const PageFailure& failure) {
  if (!asks_.load()) return LazyDamage::kPoison;
  LazyQuestion question(failure);
  if (own_thread_.load() == this_thread()) {
    answer(question);
  } else if (!mail().post(&question)) {
    return LazyDamage::kPoison;
  }
  return question.wait();
}

void LazyPages::answer(LazyQuestion& question) {
  const PageFailure failure = question.failure();
  const auto found = answers_.find(failure.page);
  if (found != answers_.end()) return question.answer(found->second);
  const LazyDamage wanted = on_damage_(GuestAddress{address_of(failure.page)}, status_of(failure));
  answers_[failure.page] = wanted;
  if (wanted == LazyDamage::kZeros) take_zeros(failure.page);
  question.answer(wanted);
}

// As if the guest had written them. Who watches writes is told, which no signal handler may do.
void LazyPages::take_zeros(std::uint64_t page) {
  const LazyRegion& region = layout().region_of(page);
  const std::shared_ptr<Region> owner = region.owner.lock();
  {
    const SignalsBlocked blocked;
    if (put_zeros({.first = page, .end = page + 1}, LazyCause::kDamage, true) != 0) return;
  }
  DirtyLog* const log = owner == nullptr ? nullptr : owner->dirty_log.load();
  if (log == nullptr) return;
  log->mark((page - region.first) * kSnapshotPageBytes, kSnapshotPageBytes);
}

void LazyPages::stop_asking() {
  asks_.store(false);
  while (bringing_.load() != 0) ::sched_yield();
}

void LazyPages::note(const PageFailure& failure) {
  std::uint32_t none = 0;
  if (!failure_state_.compare_exchange_strong(none, 1)) return;
  first_failure_ = failure;
  failure_state_.store(2, std::memory_order_release);
}

absl::Status LazyPages::first_failure() const {
  if (failure_state_.load(std::memory_order_acquire) != 2) return absl::OkStatus();
  return status_of(first_failure_);
}

absl::Status LazyPages::status_of(const PageFailure& failure) const {
  const SnapshotFile& file = *chain().files()[failure.file];
  const std::uint64_t offset = SnapshotFile::offset_of(failure.slot);
  switch (failure.kind) {
    case PageFailure::Kind::kMismatch:
      return mismatch(file, failure.slot, address_of(failure.page));
    case PageFailure::Kind::kEndOfFile:
      return file_error(file.file().path, offset,
                        absl::DataLossError("the file ends here, too early"));
    case PageFailure::Kind::kNotRead:
      return file_refused(file.file().path, offset, "reading", failure.error);
    case PageFailure::Kind::kNotPlaced: break;
  }
  return absl::ResourceExhaustedError(
      absl::StrFormat("the host gave no memory for the page at 0x%x: errno %d",
                      address_of(failure.page), failure.error));
}

LazyStatistics LazyPages::statistics() const {
  wait_for_supplies();
  const auto brought = [this](LazyCause cause) {
    return brought_[static_cast<std::size_t>(cause)].load(std::memory_order_relaxed);
  };
  return {.absent = absent_pages(),
          .prefetched = brought(LazyCause::kPrefetch),
          .touched = brought(LazyCause::kTouch),
          .asked_for = brought(LazyCause::kAsked),
          .filled = brought(LazyCause::kFill),
          .damaged = brought(LazyCause::kDamage),
          .faults = faults_.load(std::memory_order_relaxed)};
}

}  // namespace vm_mem::internal
