#include "vm_mem/internal/lazy_run.h"

#include <linux/userfaultfd.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <system_error>
#include <utility>

#include "absl/strings/str_format.h"
#include "vm_mem/internal/lazy_signals.h"
#include "vm_mem/internal/page_stream.h"
#include "vm_mem/internal/section_walk.h"
#include "vm_mem/internal/signals_blocked.h"
#include "vm_mem/internal/without_exceptions.h"

namespace vm_mem::internal {
namespace {

constexpr int kFillNice = 10;
// One block under way while another is looked at: a touch waits behind little.
constexpr std::size_t kFillDepth = 2;
// Brought page by page where reading many at a time has failed.
constexpr std::uint64_t kPagesAfterFailure = 1024;

void wait_a_moment() { std::this_thread::sleep_for(std::chrono::microseconds(100)); }

}  // namespace

// What is absent is poisoned before the watch ends, since the kernel would give zeros for it.
LazyRun::~LazyRun() {
  if (pages_ == nullptr) return;
  stop_fill_.store(true);
  if (!done()) {
    pages_->stop_asking();
    pages_->abandon();
    bring_what_is_left();
    complete();
  }
  if (fill_.joinable()) fill_.join();
  detach();
}

// Where the host could not even poison it, for want of memory or of mappings.
void LazyRun::bring_what_is_left() {
  const std::atomic<bool> never{false};
  bring_all([this] { return pages_->absent(); }, LazyCause::kFill, never, BlockPipe::kDepth);
  if (pages_->absent_pages() == 0) return;
  for (const RamRegion& region : regions_) {
    ::mprotect(region.memory.data(), region.memory.size(), PROT_NONE);
  }
}

// Ends what attach() and start_threads() began, as far as they came.
void LazyRun::detach() {
  if (pages_ == nullptr) return;
  complete();
  pages_->stop_asking();  // of pages that another thread had more luck with, too
  stop_.store(true);
  pages_->mail().post(nullptr);
  if (own_.joinable()) own_.join();
  for (const LazyRegion& region : pages_->layout().regions()) {
    remove_lazy_range(region.memory_of({.first = region.first, .end = region.end}), pages_.get());
  }
}

void LazyRun::complete() {
  const std::lock_guard lock(complete_mutex_);
  if (done()) return;
  pages_->begin_end();
  if (is_attached_) {
    for (const PageInterval& pages : watched_) {
      pages_->faults().forget(pages_->layout().region_of(pages.first).memory_of(pages));
    }
    for (const RamRegion& region : regions_) {
      ::madvise(region.memory.data(), region.memory.size(), MADV_DOFORK);
      if (region.mapping().huge_page_advice() == HugePageAdvice::kAlways) {
        ::madvise(region.memory.data(), region.memory.size(), MADV_HUGEPAGE);
      }
      // Who knows of lost pages stays.
      if (region.region->absent.get() == pages_ && pages_->is_sound()) {
        region.region->set_absent(nullptr);
      }
    }
  }
  regions_.clear();
  pages_->end();
  done_.store(true, std::memory_order_release);
}

absl::Status LazyRun::ensure_present(GuestRange range) const {
  const std::shared_ptr<const MemoryMap> map = memory_.map();
  for (std::uint64_t done = 0; done < range.bytes();) {
    const GuestAddress at = range.begin().offset_by(done);
    if (map->find(at) == nullptr) {
      return absl::NotFoundError(absl::StrFormat("nothing is mapped at 0x%x", at.value));
    }
    const Run run = run_at(*map, at, range.bytes() - done);
    done += run.bytes;
    if (run.section->kind != RegionKind::kRam) continue;
    const Region& region = *owner_of(*run.section).shown;
    const std::shared_ptr<AbsentPages> absent = region.absent.get();
    if (absent == nullptr) continue;
    absl::Status brought =
        absent->bring(region, run.section->region_offset + run.offset, run.bytes);
    if (!brought.ok()) return brought;
  }
  return absl::OkStatus();
}

absl::Status LazyRun::stream(const Runs& runs, LazyCause cause, const std::atomic<bool>& stop,
                             std::size_t depth) {
  const SnapshotProgress nobody;
  PageProgress progress(nobody);
  return stream_pages(
      pages_->chain(), runs, options_.io, progress,
      [&](std::uint32_t first, std::span<const std::byte> bytes) -> absl::Status {
        // Who waits for a page goes first.
        for (int i = 0; i < 10 && cause == LazyCause::kFill && pages_->is_serving(); ++i) {
          wait_a_moment();
        }
        if (stop.load()) return absl::CancelledError("");
        return pages_->install(first, bytes, cause);
      },
      depth);
}

void LazyRun::bring_all(const std::function<Runs()>& absent, LazyCause cause,
                        const std::atomic<bool>& stop, std::size_t depth) {
  std::uint64_t before = UINT64_MAX;
  while (!stop.load()) {
    Runs runs = absent();
    const std::uint64_t count = page_count_of(runs);
    if (count == 0 || count >= before) return;  // or the host gives no memory
    before = count;
    sort_by_place(runs);
    if (stream(runs, cause, stop, depth).ok()) continue;
    // Damage ends a stream. The next pages one by one, each with its own fate.
    Runs rest = absent();
    sort_by_place(rest);
    std::uint64_t left = kPagesAfterFailure;
    for (const DataRun& run : rest) {
      if (left == 0 || stop.load()) break;
      const std::uint64_t now = std::min<std::uint64_t>(run.count, left);
      pages_->bring({.first = run.first, .end = run.first + now}, cause);
      left -= now;
    }
  }
}

void LazyRun::fill() {
  ::setpriority(PRIO_PROCESS, static_cast<id_t>(::syscall(SYS_gettid)), kFillNice);
  // Without memory for it, pages come when they are touched.
  without_exceptions([this]() -> absl::Status {
    bring_all([this] { return pages_->absent(); }, LazyCause::kFill, stop_fill_, kFillDepth);
    return absl::OkStatus();
  }).IgnoreError();
}

// Without a thread, the one that starts the restore does it.
void LazyRun::start_fill() {
  const SignalsBlocked blocked;
  try {
    fill_ = std::thread([this] { fill(); });
  } catch (const std::system_error&) {
    finish().IgnoreError();
  }
}

// The other thread ends by itself: waiting for one of low priority can take long.
absl::Status LazyRun::finish() {
  stop_fill_.store(true);
  const std::lock_guard lock(finish_mutex_);
  const std::atomic<bool> never{false};
  if (!done()) {
    bring_all([this] { return pages_->absent(); }, LazyCause::kFill, never, BlockPipe::kDepth);
    if (pages_->absent_pages() == 0) complete();
  }
  if (!done()) {
    return absl::UnavailableError(
        absl::StrFormat("0x%x pages could not be brought, and are absent", pages_->absent_pages()));
  }
  const absl::Status first = pages_->first_failure();
  if (first.ok()) return first;
  return absl::DataLossError(absl::StrFormat("0x%x pages were not restored; the first: %s",
                                             pages_->statistics().damaged, first.message()));
}

std::vector<GuestAddress> LazyRun::touched() const {
  std::vector<GuestAddress> pages = prefetched_;
  for (const std::uint64_t page : pages_->touched()) {
    if (pages.size() >= options_.record_pages) break;
    pages.push_back(GuestAddress{pages_->address_of(page)});
  }
  return pages;
}

LazyStatistics LazyRun::statistics() const {
  LazyStatistics statistics = pages_->statistics();
  statistics.eager = eager_pages_;
  return statistics;
}

void LazyRun::serve() {
  pages_->answer_here();
  const bool takes_faults = options_.faults == LazyFaults::kHandler;
  std::array<pollfd, 2> wanted = {
      pollfd{.fd = pages_->mail().fd(), .events = POLLIN, .revents = 0},
      pollfd{.fd = takes_faults ? pages_->faults().fd() : -1, .events = POLLIN, .revents = 0}};
  while (!stop_.load()) {
    ::poll(wanted.data(), wanted.size(), -1);
    serve_mail();
    if (takes_faults) serve_faults();
    if (pages_->absent_pages() == 0) complete();
  }
}

void LazyRun::serve_mail() {
  LazyQuestion* question = nullptr;
  while (pages_->mail().take(question)) {
    if (question != nullptr) pages_->answer(*question);
  }
}

void LazyRun::serve_faults() {
  std::array<uffd_msg, 16> messages;
  for (;;) {
    const ssize_t bytes = ::read(pages_->faults().fd(), messages.data(), sizeof messages);
    if (bytes <= 0) return;
    for (std::size_t i = 0; i < static_cast<std::size_t>(bytes) / sizeof messages[0]; ++i) {
      if (messages[i].event == UFFD_EVENT_PAGEFAULT) {
        serve_fault(messages[i].arg.pagefault.address);
      }
    }
  }
}

// Who waits tries again, whoever brought the page, and asks again where nobody could.
void LazyRun::serve_fault(std::uintptr_t host) {
  if (!pages_->fault(host) && !pages_->is_poisoned(host)) wait_a_moment();
  const std::uintptr_t page = host / kSnapshotPageBytes * kSnapshotPageBytes;
  pages_->faults().wake({reinterpret_cast<std::byte*>(page), kSnapshotPageBytes});
}

}  // namespace vm_mem::internal
