#include "vm_engine/internal/arena_views.h"

#include <sched.h>

#include <algorithm>
#include <cerrno>
#include <mutex>
#include <utility>

#include "vm_engine/internal/guest_memory.h"

namespace vm_engine::internal {
namespace {

// The guards, the hole behind the last view, and slack.
constexpr std::uint64_t kMappingsAround = 4;

// Nobody is told: nothing has been written yet, or who watches has been told by closing
// the page.
void mark_quietly(vm_mem::DirtyLog& log, std::uint64_t offset, std::uint64_t bytes) {
  for (std::uint64_t page = offset / kPageBytes; page * kPageBytes < offset + bytes; ++page) {
    std::atomic<std::uint8_t>& mark = log.bytes()[page];
    if ((mark.load() & 1) == 0) mark.fetch_or(1);
  }
}

bool is_aligned(std::uint64_t begin, const ArenaView& view, const vm_mem::RegionFile& file) {
  return (begin | view.end | (file.offset + view.region_offset)) % file.page_bytes == 0;
}

std::mutex arenas_mutex;
std::vector<ArenaViews*>& arenas() {
  static auto* const all = new std::vector<ArenaViews*>;
  return *all;
}

}  // namespace

void ArenaLock::lock() {
  while (!try_lock()) sched_yield();
}

ArenaViews::ArenaViews(vm_mem::MemoryManager& memory, ArenaSpace space, std::size_t max_mappings)
    : memory_(memory),
      space_(std::move(space)),
      max_mappings_(max_mappings),
      mappings_(kMappingsAround),
      dirty_epoch_(memory.dirty_epoch()) {
  const std::lock_guard lock(arenas_mutex);
  arenas().push_back(this);
}

ArenaViews::~ArenaViews() {
  const std::lock_guard lock(arenas_mutex);
  std::erase(arenas(), this);
}

void ArenaViews::lock_all_for_fork() {
  arenas_mutex.lock();
  for (ArenaViews* views : arenas()) {
    views->follower_mutex_.lock();
    views->lock_.lock();
  }
}

void ArenaViews::unlock_all_after_fork() {
  for (ArenaViews* views : arenas()) {
    views->lock_.unlock();
    views->follower_mutex_.unlock();
  }
  arenas_mutex.unlock();
}

void ArenaViews::explain(ArenaReason::Kind kind, std::array<std::uint64_t, 3> numbers) noexcept {
  if (reason_.kind == ArenaReason::Kind::kNone) reason_ = {.kind = kind, .numbers = numbers};
  complete_.store(false, std::memory_order_relaxed);
}

std::string ArenaViews::reason() const {
  const auto noted = [this] {
    const std::lock_guard lock(lock_);
    return reason_;
  };
  return noted().text();
}

void ArenaViews::refuse(const ArenaReason& reason) noexcept {
  const std::lock_guard lock(lock_);
  explain(reason.kind, reason.numbers);
}

void ArenaViews::give_up() noexcept {
  const std::lock_guard lock(lock_);
  explain(ArenaReason::Kind::kNoMemory);
  given_up_ = hide_everything();
  if (given_up_) views_.clear();
}

std::uint64_t ArenaViews::refusals() const {
  const std::lock_guard lock(lock_);
  return refusals_;
}

FastmemStatistics ArenaViews::statistics() const {
  const std::lock_guard lock(lock_);
  return {.mappings = mappings_, .pages_opened = opened_, .pages_closed = closed_};
}

// The hole behind it counts too.
std::uint64_t ArenaViews::mappings_of(const ArenaView& view) {
  if (view.kind != ViewKind::kMapped) return 0;
  return 1 + std::max<std::uint64_t>(view.open.runs(), 1);
}

void ArenaViews::assign(ArenaView& view, std::uint64_t first, std::uint64_t count, bool value) {
  const std::uint64_t ones = view.open.ones();
  mappings_ -= mappings_of(view);
  view.open.assign(first, count, value);
  mappings_ += mappings_of(view);
  (value ? opened_ : closed_) += value ? view.open.ones() - ones : ones - view.open.ones();
}

// --- Coming and going.

bool ArenaViews::show(std::uint64_t begin, ArenaView& view, const Source& source) {
  const std::uint64_t bytes = view.end - begin;
  if (!is_affordable(mappings_of(view))) {
    explain(ArenaReason::Kind::kTooManyMappings, {max_mappings_});
    return false;
  }
  const bool all_open = view.open.size() != 0 && view.open.ones() == view.open.size();
  const ArenaAccess access = all_open ? ArenaAccess::kReadWrite : ArenaAccess::kRead;
  const bool shown = source.file
                         ? space_.show(begin, bytes, *source.file, view.region_offset, access)
                         : space_.show_copy(begin, source.content);
  if (!shown) {
    explain(ArenaReason::Kind::kNotMapped, {bytes, static_cast<std::uint64_t>(errno)});
    return false;
  }
  if (!all_open) show_open(begin, view);
  return true;
}

// Of a view that can be read. What the host refuses stays closed, until a store there.
void ArenaViews::show_open(std::uint64_t begin, ArenaView& view) {
  const std::uint64_t pages = view.open.size();
  for (std::uint64_t page = view.open.next_one(0); page < pages;) {
    const std::uint64_t end = view.open.next_zero(page);
    if (!space_.permit(begin + page * view.page_bytes, (end - page) * view.page_bytes,
                       ArenaAccess::kReadWrite)) {
      view.open.assign(page, pages - page, false);
      return;
    }
    page = view.open.next_one(end);
  }
}

void ArenaViews::leave_guarded_closed(ArenaView& view) {
  const bool watchable = view.dirty_log != nullptr && view.dirty_log->is_watchable();
  if (view.tracked || (!watchable && !protected_.contains(view.region))) return;
  for (std::uint64_t page = 0; page < view.open.size(); ++page) {
    if (is_guarded(view, page)) view.open.assign(page, 1, false);
  }
  if (view.open.runs() < 2 || is_affordable(mappings_of(view))) return;
  explain(ArenaReason::Kind::kTooManyProtected, {max_mappings_});
  view.frozen = true;
  view.open.assign(0, view.open.size(), false);
}

// Who guards a page that this has found unguarded closes it once the lock is free.
void ArenaViews::add(std::uint64_t begin, ArenaView view, const Source& source) {
  const std::lock_guard lock(lock_);
  if (given_up_) {
    ++refusals_;
    return;
  }
  const std::uint64_t bytes = view.end - begin;
  view.page_bytes = source.file ? source.file->page_bytes : kPageBytes;
  if (source.file && !is_aligned(begin, view, *source.file)) {
    explain(ArenaReason::Kind::kMisaligned,
            {static_cast<std::uint64_t>(view.region), view.page_bytes, begin});
    view.kind = ViewKind::kUnmappable;
    ++refusals_;
  }
  if (view.kind == ViewKind::kMapped) {
    const bool writable = source.file && source.protection == vm_mem::Protection::kReadWrite;
    if (writable) view.open = PageBits(bytes / view.page_bytes, !view.tracked);
    leave_guarded_closed(view);
  }
  ArenaView& added = views_.emplace(begin, std::move(view)).first->second;
  if (added.kind != ViewKind::kMapped) return;
  if (!show(begin, added, source)) {
    ++refusals_;
    return make_unmappable(added);
  }
  mappings_ += mappings_of(added);
}

ArenaViews::Views::iterator ArenaViews::first_overlap(std::uint64_t begin) {
  auto at = views_.upper_bound(begin);
  if (at != views_.begin() && std::prev(at)->second.end > begin) --at;
  return at;
}

// What open pages were stored to is marked once nobody can store there.
void ArenaViews::forget(const ArenaView& view) {
  mappings_ -= mappings_of(view);
  mark_open(view, 0, view.open.size());
}

void ArenaViews::remove(std::uint64_t begin, std::uint64_t end) {
  const std::lock_guard lock(lock_);
  const auto first = first_overlap(begin);
  if (first == views_.end() || first->first >= end) return;
  // Whatever can fail comes before anything is hidden.
  std::vector<Entry> rests;
  auto last = first;
  for (; last != views_.end() && last->first < end; ++last) {
    if (last->first < begin) rests.push_back(part_of(*last, last->first, begin));
    if (last->second.end > end) rests.push_back(part_of(*last, end, last->second.end));
  }
  Views kept;
  for (Entry& rest : rests) kept.emplace(rest.first, std::move(rest.second));
  const bool hidden = space_.hide(begin, end - begin);
  if (!hidden) (void)hide_everything();
  for (auto at = first; at != last; ++at) forget(at->second);
  views_.erase(first, last);
  for (Entry& rest : kept) {
    if (!hidden) make_unmappable(rest.second);
    mappings_ += mappings_of(rest.second);
  }
  views_.merge(kept);
}

ArenaViews::Entry ArenaViews::part_of(const Entry& whole, std::uint64_t begin,
                                      std::uint64_t end) const {
  ArenaView part = whole.second;
  const std::uint64_t from = begin - whole.first;
  part.end = end;
  part.region_offset += from;
  if (part.open.size() != 0) {
    part.open = whole.second.open.part(from / part.page_bytes, (end - begin) / part.page_bytes);
  }
  return {begin, std::move(part)};
}

void ArenaViews::make_unmappable(ArenaView& view) {
  if (view.kind == ViewKind::kMapped) view.kind = ViewKind::kUnmappable;
  view.open = PageBits();
}

// One mapping in place of all: the host has room for that.
bool ArenaViews::hide_everything() noexcept {
  explain(ArenaReason::Kind::kNotChanged, {static_cast<std::uint64_t>(errno)});
  if (!space_.hide(0, space_.bytes()) && !space_.permit(0, space_.bytes(), ArenaAccess::kNone)) {
    return false;
  }
  for (Entry& entry : views_) {
    forget(entry.second);
    make_unmappable(entry.second);
  }
  return true;
}

// --- Open and closed pages.

bool ArenaViews::is_guarded(const ArenaView& view, std::uint64_t page) const {
  if (is_protected(view, page)) return true;
  if (view.dirty_log == nullptr || !view.dirty_log->is_watchable()) return false;
  const std::uint64_t first = (view.region_offset + page * view.page_bytes) / kPageBytes;
  for (std::uint64_t each = first; each < first + view.page_bytes / kPageBytes; ++each) {
    if (view.dirty_log->is_guarded(each)) return true;
  }
  return false;
}

bool ArenaViews::is_protected(const ArenaView& view, std::uint64_t page) const {
  const auto found = protected_.find(view.region);
  if (found == protected_.end()) return false;
  const std::vector<bool>& pages = found->second;
  const std::uint64_t first = (view.region_offset + page * view.page_bytes) / kPageBytes;
  const std::uint64_t end = first + view.page_bytes / kPageBytes;
  for (std::uint64_t each = first; each < std::min<std::uint64_t>(end, pages.size()); ++each) {
    if (pages[each]) return true;
  }
  return false;
}

bool ArenaViews::open(Entry& entry, std::uint64_t page) {
  ArenaView& view = entry.second;
  if (view.frozen || !is_affordable(2) || is_guarded(view, page)) return false;
  if (view.tracked) {
    mark_quietly(*view.dirty_log, view.region_offset + page * view.page_bytes, view.page_bytes);
  }
  if (!space_.permit(entry.first + page * view.page_bytes, view.page_bytes,
                     ArenaAccess::kReadWrite)) {
    return false;
  }
  assign(view, page, 1, true);
  return true;
}

void ArenaViews::mark_open(const ArenaView& view, std::uint64_t first, std::uint64_t count) const {
  if (!view.tracked) return;
  for (std::uint64_t page = view.open.next_one(first); page < first + count;
       page = view.open.next_one(page + 1)) {
    mark_quietly(*view.dirty_log, view.region_offset + page * view.page_bytes, view.page_bytes);
  }
}

bool ArenaViews::close(Entry& entry, std::uint64_t first, std::uint64_t count) {
  ArenaView& view = entry.second;
  if (view.open.next_one(first) >= first + count) return true;
  const bool affordable = is_affordable(2);
  if (!affordable || !space_.permit(entry.first + first * view.page_bytes, count * view.page_bytes,
                                    ArenaAccess::kRead)) {
    return freeze(entry);
  }
  mark_open(view, first, count);
  assign(view, first, count, false);
  return true;
}

bool ArenaViews::freeze(Entry& entry) {
  explain(ArenaReason::Kind::kTooManyProtected, {max_mappings_});
  entry.second.frozen = true;
  return close_all(entry);
}

bool ArenaViews::close_all(Entry& entry) {
  ArenaView& view = entry.second;
  if (!space_.permit(entry.first, view.end - entry.first, ArenaAccess::kRead)) {
    return hide_everything();
  }
  mark_open(view, 0, view.open.size());
  assign(view, 0, view.open.size(), false);
  return true;
}

bool ArenaViews::close_pages(vm_mem::RegionId region, std::uint64_t begin, std::uint64_t end) {
  bool closed = true;
  for (Entry& entry : views_) {
    ArenaView& view = entry.second;
    const std::uint64_t from = std::max(begin, view.region_offset);
    const std::uint64_t to = std::min(end, view.region_offset + (view.end - entry.first));
    if (view.region != region || view.open.size() == 0 || from >= to) continue;
    const std::uint64_t page = (from - view.region_offset) / view.page_bytes;
    const std::uint64_t last = (to - 1 - view.region_offset) / view.page_bytes;
    closed = close(entry, page, last - page + 1) && closed;
  }
  return closed;
}

bool ArenaViews::close(vm_mem::RegionId region, std::uint64_t offset,
                       std::uint64_t bytes) noexcept {
  const std::lock_guard lock(lock_);
  return close_pages(region, offset, offset + bytes);
}

// What cannot be noted is not shown any more.
absl::Status ArenaViews::protect(vm_mem::RegionId region, std::uint64_t offset,
                                 std::uint64_t bytes) try {
  if (bytes == 0) return absl::OkStatus();
  const std::lock_guard lock(lock_);
  const std::uint64_t first = offset / kPageBytes;
  const std::uint64_t end = (offset + bytes - 1) / kPageBytes + 1;
  std::vector<bool>& pages = protected_[region];
  if (pages.size() < end) pages.resize(end);
  std::fill(pages.begin() + static_cast<std::ptrdiff_t>(first),
            pages.begin() + static_cast<std::ptrdiff_t>(end), true);
  if (close_pages(region, first * kPageBytes, end * kPageBytes)) return absl::OkStatus();
  return exhausted("the host refuses to close pages");
} catch (const std::bad_alloc&) {
  give_up();
  return exhausted("no host memory to note protected pages");
}

void ArenaViews::unprotect(vm_mem::RegionId region, std::uint64_t offset, std::uint64_t bytes) {
  if (bytes == 0) return;
  const std::lock_guard lock(lock_);
  const auto found = protected_.find(region);
  if (found == protected_.end()) return;
  std::vector<bool>& pages = found->second;
  const std::uint64_t first = std::min<std::uint64_t>(offset / kPageBytes, pages.size());
  const std::uint64_t end =
      std::min<std::uint64_t>((offset + bytes - 1) / kPageBytes + 1, pages.size());
  for (std::uint64_t page = first; page < end; ++page) pages[page] = false;
}

void ArenaViews::close_tracked() {
  const std::lock_guard lock(lock_);
  for (Entry& entry : views_) {
    if (entry.second.tracked && entry.second.open.ones() != 0) (void)close_all(entry);
  }
}

void ArenaViews::mark_tracked() {
  const std::lock_guard lock(lock_);
  for (const Entry& entry : views_) mark_open(entry.second, 0, entry.second.open.size());
}

// The epoch is taken first: a harvest that comes meanwhile closes them once more.
void ArenaViews::renew() {
  const std::uint64_t epoch = memory_.dirty_epoch();
  if (dirty_epoch_.exchange(epoch) != epoch) close_tracked();
}

// --- Faults.

ArenaFault ArenaViews::on_fault(std::uintptr_t address, std::uint32_t access) {
  const std::uint64_t at = address - reinterpret_cast<std::uintptr_t>(space_.base());
  if (at + space_.guard_bytes() >= space_.bytes() + 2 * space_.guard_bytes()) return {};
  if (at >= space_.bytes()) return {.ours = true};
  const std::unique_lock lock(lock_, std::try_to_lock);
  if (!lock.owns_lock()) return {.ours = true, .rc = VME_PROT};
  const auto found = first_overlap(at);
  if (found == views_.end() || found->first > at) return {.ours = true};
  ArenaView& view = found->second;
  if (view.kind == ViewKind::kDevice) return {.ours = true, .rc = VME_MMIO};
  const std::uint64_t page = (at - found->first) / std::max<std::uint64_t>(view.page_bytes, 1);
  const bool may_open = access == VME_ACCESS_WRITE && page < view.open.size();
  // Open already: another thread did it after the fault.
  const bool again = may_open && (view.open.test(page) || open(*found, page));
  return {.ours = true, .again = again, .rc = VME_PROT};
}

}  // namespace vm_engine::internal
