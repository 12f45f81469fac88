#include "vm_mem/dirty_log.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <new>

#include "vm_mem/internal/dirty_kernels.h"
#include "vm_mem/internal/write_watch.h"

namespace vm_mem {
namespace {

using internal::active_dirty_kernels;
using internal::dirty_of_eight;
using internal::kEightDirty;
using internal::kMarkPadding;
using internal::kMarksPerWord;
using internal::kWordGroup;

static_assert(sizeof(std::atomic<std::uint8_t>) == 1 &&
              std::atomic<std::uint8_t>::is_always_lock_free);

std::uint64_t pages_of(std::uint64_t bytes) {
  return bytes / kDirtyPageBytes + (bytes % kDirtyPageBytes != 0 ? 1 : 0);
}

// Eight marks at once, as one word.
using MarkWord [[gnu::may_alias]] = std::uint64_t;
constexpr std::uint64_t kMarksInWord = sizeof(MarkWord);

std::uint8_t other_bits(std::uint8_t mark) { return mark & static_cast<std::uint8_t>(~kMarkDirty); }

// The marks beside which somebody may set or clear other bits. Returns the dirty ones.
std::uint64_t take_word(MarkWord* marks) {
  if ((__atomic_load_n(marks, __ATOMIC_RELAXED) & kEightDirty) == 0) return 0;
  return dirty_of_eight(__atomic_fetch_and(marks, ~kEightDirty, __ATOMIC_ACQ_REL));
}

std::uint64_t round_up(std::uint64_t value, std::uint64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

}  // namespace

// mmap and not new[]: the log of a large region costs memory where marks fall alone, and
// begins at the start of a page.
DirtyLog::DirtyLog(std::uint64_t bytes, internal::WriteWatch* watch)
    : page_count_(pages_of(bytes)),
      mapped_bytes_(round_up(page_count_, kWordGroup * kMarksPerWord) + kMarkPadding),
      watch_(watch) {
  void* const mapped = mmap(nullptr, mapped_bytes_, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapped == MAP_FAILED) throw std::bad_alloc();
  bytes_ = static_cast<std::atomic<std::uint8_t>*>(mapped);
}

DirtyLog::~DirtyLog() { munmap(bytes_, mapped_bytes_); }

// Where bits beside kMarkDirty may be set meanwhile, a store that is already on its way
// must not wipe them out.
std::uint8_t DirtyLog::set_dirty(std::uint64_t page) {
  if (watch_ == nullptr) {
    bytes_[page].store(kMarkDirty, std::memory_order_release);
    return 0;
  }
  std::uint8_t mark = bytes_[page].load(std::memory_order_relaxed);
  if ((mark & kMarkDirty) == 0) mark = bytes_[page].fetch_or(kMarkDirty);
  return other_bits(mark);
}

void DirtyLog::mark_first(std::uint64_t page, WriteCause cause) {
  const std::uint8_t found = set_dirty(page);
  if (found != 0) watch_->written(page * kDirtyPageBytes, kDirtyPageBytes, found, cause);
}

void DirtyLog::mark_short(std::uint64_t offset, std::uint64_t bytes, WriteCause cause) {
  std::uint8_t found = 0;
  const std::uint64_t last = (offset + bytes - 1) / kDirtyPageBytes;
  for (std::uint64_t page = offset / kDirtyPageBytes; page <= last; ++page) {
    if (!is_marked(page)) found |= set_dirty(page);
  }
  if (found != 0) watch_->written(offset, bytes, found, cause);
}

void DirtyLog::mark_long(std::uint64_t offset, std::uint64_t bytes, WriteCause cause) {
  const std::uint64_t first = offset / kDirtyPageBytes;
  const std::uint64_t last = (offset + bytes - 1) / kDirtyPageBytes;
  const std::uint8_t found = set_dirty_range(first, last - first + 1);
  if (found != 0) watch_->written(offset, bytes, found, cause);
}

void DirtyLog::mark_range(std::uint64_t first_page, std::uint64_t count, WriteCause cause) {
  if (count != 0) mark_long(first_page * kDirtyPageBytes, count * kDirtyPageBytes, cause);
}

std::uint8_t DirtyLog::set_dirty_range(std::uint64_t first_page, std::uint64_t count) {
  if (watch_ == nullptr) {
    active_dirty_kernels().set(marks() + first_page, count);
    return 0;
  }
  std::atomic_signal_fence(std::memory_order_seq_cst);
  std::uint64_t found = 0;
  std::uint64_t page = first_page;
  const std::uint64_t end = first_page + count;
  const auto mark_up_to = [&](std::uint64_t stop) {
    for (; page < stop; ++page) found |= set_dirty(page);
  };
  mark_up_to(std::min(end, round_up(page, kMarksInWord)));
  for (; end - page >= kMarksInWord; page += kMarksInWord) {
    auto* const word = reinterpret_cast<MarkWord*>(&bytes_[page]);
    std::uint64_t marks = __atomic_load_n(word, __ATOMIC_RELAXED);
    if ((marks & kEightDirty) != kEightDirty) {
      marks = __atomic_fetch_or(word, kEightDirty, __ATOMIC_SEQ_CST);
    }
    found |= marks;
  }
  mark_up_to(end);
  for (unsigned half = 32; half >= 8; half /= 2) found |= found >> half;
  return other_bits(static_cast<std::uint8_t>(found));
}

LineReservation DirtyLog::reserve(std::uint64_t offset) {
  return watch_->reserve(offset, bytes_[offset / kDirtyPageBytes]);
}

bool DirtyLog::settle(LineReservation& reservation) noexcept {
  return watch_->settle_line(reservation);
}

std::mutex& DirtyLog::lock_of(const LineReservation& reservation) {
  return watch_->lock_of(reservation);
}

void DirtyLog::break_line(const LineReservation& reservation) { watch_->break_line(reservation); }

bool DirtyLog::is_intact(const LineReservation& reservation) const {
  return watch_->is_intact(reservation);
}

void DirtyLog::unreserve(const LineReservation& reservation) {
  watch_->unreserve(reservation, bytes_[reservation.offset / kDirtyPageBytes]);
}

void DirtyLog::merge_bitmap(std::span<const std::uint64_t> words, std::uint64_t first_page,
                            WriteCause cause) {
  if (first_page >= page_count_) return;
  const std::uint64_t left = page_count_ - first_page;
  std::uint64_t whole = 0;
  if (watch_ == nullptr) {
    whole = std::min<std::uint64_t>(words.size(), left / kMarksPerWord);
    active_dirty_kernels().expand(marks() + first_page, words.data(), whole);
  }
  for (; whole < words.size() && whole * kMarksPerWord < left; ++whole) {
    for (std::uint64_t ones = words[whole]; ones != 0; ones &= ones - 1) {
      const std::uint64_t page =
          whole * kMarksPerWord + static_cast<std::uint64_t>(std::countr_zero(ones));
      if (page >= left) break;
      mark_page(first_page + page, cause);
    }
  }
}

std::size_t DirtyLog::merge_pages(std::span<const std::uint64_t> pages, WriteCause cause) {
  std::size_t inside = 0;
  for (const std::uint64_t page : pages) {
    if (page >= page_count_) continue;
    mark_page(page, cause);
    ++inside;
  }
  return inside;
}

bool DirtyLog::is_dirty(std::uint64_t offset) const {
  return (bytes_[offset / kDirtyPageBytes].load(std::memory_order_acquire) & kMarkDirty) != 0;
}

std::uint64_t DirtyLog::dirty_page_count(std::uint64_t pages) const {
  const std::uint64_t whole = pages / (kWordGroup * kMarksPerWord) * kWordGroup;
  std::uint64_t count = active_dirty_kernels().count(marks(), whole);
  for (std::uint64_t page = whole * kMarksPerWord; page < pages; ++page) {
    if (is_dirty(page * kDirtyPageBytes)) ++count;
  }
  return count;
}

// Vectors say where nothing is to be taken; a mark that is taken keeps its other bits.
std::uint64_t DirtyLog::collect(std::span<std::uint64_t> words) {
  const internal::DirtyKernels& kernels = active_dirty_kernels();
  if (watch_ == nullptr) return kernels.collect(marks(), words.data(), words.size());
  std::uint64_t total = 0;
  for (std::size_t i = 0; i < words.size(); ++i) {
    std::byte* const group = marks() + i * kMarksPerWord;
    if (i % kWordGroup == 0 && kernels.count(group, kWordGroup) == 0) {
      std::fill_n(words.begin() + static_cast<std::ptrdiff_t>(i), kWordGroup, 0);
      i += kWordGroup - 1;
      continue;
    }
    words[i] = 0;
    for (unsigned part = 0; part < 64; part += kMarksInWord) {
      words[i] |= take_word(reinterpret_cast<MarkWord*>(group + part)) << part;
    }
    total += static_cast<std::uint64_t>(std::popcount(words[i]));
  }
  return total;
}

void DirtyLog::restore(std::span<const std::uint64_t> words, std::uint64_t first_page) {
  for (std::uint64_t i = first_page / kMarksPerWord; i < words.size(); ++i) {
    for (std::uint64_t ones = words[i]; ones != 0; ones &= ones - 1) {
      const std::uint64_t page =
          i * kMarksPerWord + static_cast<std::uint64_t>(std::countr_zero(ones));
      if (page >= first_page) set_dirty(page);
    }
  }
}

std::size_t DirtyLog::word_count() const { return (mapped_bytes_ - kMarkPadding) / kMarksPerWord; }

}  // namespace vm_mem
