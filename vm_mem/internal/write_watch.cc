#include "vm_mem/internal/write_watch.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <new>
#include <utility>

#include "vm_mem/internal/full_fence.h"

namespace vm_mem::internal {
namespace {

std::uint64_t page_of(std::uint64_t offset) { return offset / kDirtyPageBytes; }

// The chunks of `page` that [begin, end) touches.
// Needs:  it touches the page.
std::uint64_t chunks_in(std::uint64_t page, std::uint64_t begin, std::uint64_t end) {
  const std::uint64_t start = page * kDirtyPageBytes;
  const std::uint64_t first = begin <= start ? 0 : (begin - start) / kCodeChunkBytes;
  const std::uint64_t last = std::min(end - 1 - start, kDirtyPageBytes - 1) / kCodeChunkBytes;
  return ~std::uint64_t{0} >> (63 - (last - first)) << first;
}

template <typename Visit>
void for_each_page(std::uint64_t offset, std::uint64_t bytes, Visit visit) {
  for (std::uint64_t page = page_of(offset); page <= page_of(offset + bytes - 1); ++page) {
    visit(page, chunks_in(page, offset, offset + bytes));
  }
}

template <typename Visit>
void for_each_one(std::uint64_t ones, Visit visit) {
  for (; ones != 0; ones &= ones - 1) visit(static_cast<std::size_t>(std::countr_zero(ones)));
}

}  // namespace

// mmap: what is never watched or reserved costs no memory, however long the region is.
WriteWatch::WriteWatch(const RegionId& region, std::uint64_t bytes,
                       std::shared_ptr<WatcherList> watchers)
    : region_(region),
      watchers_(std::move(watchers)),
      mapped_bytes_(kVersions * sizeof *versions_ +
                    (bytes + kDirtyPageBytes - 1) / kDirtyPageBytes * sizeof *pages_),
      mapped_(mmap(nullptr, mapped_bytes_, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)) {
  if (mapped_ == MAP_FAILED) throw std::bad_alloc();
  versions_ = static_cast<std::atomic<std::uint64_t>*>(mapped_);
  pages_ = reinterpret_cast<PageState*>(versions_ + kVersions);
}

WriteWatch::~WriteWatch() { munmap(mapped_, mapped_bytes_); }

void WriteWatch::written(std::uint64_t offset, std::uint64_t bytes, std::uint8_t found,
                         WriteCause cause) noexcept {
  full_fence();
  if ((found & kMarkReserved) != 0) break_lines(offset, offset + bytes);
  if ((found & kMarkCode) != 0 && touches_code(offset, offset + bytes)) {
    report(offset, offset + bytes, cause);
  }
}

bool WriteWatch::touches_code(std::uint64_t begin, std::uint64_t end) const {
  std::uint64_t touched = 0;
  for (std::uint64_t page = page_of(begin); page <= page_of(end - 1); ++page) {
    touched |= pages_[page].chunks.load(std::memory_order_relaxed) & chunks_in(page, begin, end);
  }
  return touched != 0;
}

// Told without the lock: who is told may watch and release.
void WriteWatch::report(std::uint64_t begin, std::uint64_t end, WriteCause cause) noexcept {
  while (begin < end) {
    Batch batch;
    begin = gather(begin, end, cause, batch);
    if (batch.count != 0) watchers_->tell({batch.writes.data(), batch.count});
  }
}

// Returns where the next batch begins.
std::uint64_t WriteWatch::gather(std::uint64_t begin, std::uint64_t end, WriteCause cause,
                                 Batch& batch) {
  const std::lock_guard lock(mutex_);
  const std::uint64_t stamp = watchers_->next_stamp();
  for (auto at = records_.lower_bound(page_of(begin));
       at != records_.end() && at->first <= page_of(end - 1); ++at) {
    auto& [page, record] = *at;
    const std::uint64_t start = page * kDirtyPageBytes;
    const std::uint64_t hit =
        pages_[page].chunks.load(std::memory_order_relaxed) & chunks_in(page, begin, end);
    for (std::uint64_t ones = hit; ones != 0; ones &= ones - 1) {
      const auto chunk = static_cast<std::size_t>(std::countr_zero(ones));
      const std::uint64_t from = std::max(begin, start + chunk * kCodeChunkBytes);
      const std::uint64_t to = std::min(end, start + (chunk + 1) * kCodeChunkBytes);
      if (!append({region_, from, to - from, cause}, batch)) return from;
      record.stamps[chunk] = stamp;
    }
  }
  return end;
}

// False where there is no room.
bool WriteWatch::append(const CodeWrite& write, Batch& batch) {
  if (batch.count != 0) {
    CodeWrite& last = batch.writes[batch.count - 1];
    if (last.offset + last.bytes == write.offset) {
      last.bytes += write.bytes;
      return true;
    }
  }
  if (batch.count == batch.writes.size()) return false;
  batch.writes[batch.count++] = write;
  return true;
}

bool WriteWatch::retain(std::uint64_t offset, std::uint64_t bytes, DirtyLog* log) {
  const std::lock_guard lock(mutex_);
  try {
    for_each_page(offset, bytes, [&](std::uint64_t page, std::uint64_t) { records_[page]; });
  } catch (...) {
    for_each_page(offset, bytes, [&](std::uint64_t page, std::uint64_t) {
      if (pages_[page].chunks.load(std::memory_order_relaxed) == 0) records_.erase(page);
    });
    throw;
  }
  bool fresh = false;
  for_each_page(offset, bytes, [&](std::uint64_t page, std::uint64_t chunks) {
    Record& record = records_.find(page)->second;
    for_each_one(chunks, [&](std::size_t chunk) { ++record.users[chunk]; });
    pages_[page].chunks.fetch_or(chunks);
    if (log == nullptr) {
      record.settled = true;
    } else {
      log->bytes()[page].fetch_or(kMarkCode);
    }
    fresh = fresh || !record.settled;
  });
  full_fence();
  return fresh;
}

void WriteWatch::settle(std::uint64_t offset, std::uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  for_each_page(offset, bytes, [&](std::uint64_t page, std::uint64_t) {
    records_.find(page)->second.settled = true;
  });
}

bool WriteWatch::is_used(std::uint64_t offset, std::uint64_t bytes) const {
  bool used = true;
  for_each_page(offset, bytes, [&](std::uint64_t page, std::uint64_t chunks) {
    used = used && (pages_[page].chunks.load(std::memory_order_relaxed) & chunks) == chunks;
  });
  return used;
}

bool WriteWatch::release(std::uint64_t offset, std::uint64_t bytes, DirtyLog* log) {
  const std::lock_guard lock(mutex_);
  if (!is_used(offset, bytes)) return false;
  for_each_page(offset, bytes, [&](std::uint64_t page, std::uint64_t chunks) {
    const auto found = records_.find(page);
    std::uint64_t idle = 0;
    for_each_one(chunks, [&](std::size_t chunk) {
      if (--found->second.users[chunk] == 0) idle |= std::uint64_t{1} << chunk;
    });
    if ((pages_[page].chunks.fetch_and(~idle) & ~idle) != 0) return;
    if (log != nullptr) {
      log->bytes()[page].fetch_and(static_cast<std::uint8_t>(~kMarkCode));
    }
    records_.erase(found);
  });
  return true;
}

bool WriteWatch::is_idle() const {
  const std::lock_guard lock(mutex_);
  return records_.empty();
}

void WriteWatch::moved(std::uint64_t offset, std::uint64_t bytes, WriteCause cause) noexcept {
  {
    const std::lock_guard lock(mutex_);
    moved_stamp_ = watchers_->next_stamp();
  }
  report(offset, offset + bytes, cause);
}

bool WriteWatch::written_since(CodeStamp stamp, std::uint64_t offset, std::uint64_t bytes) const {
  const std::lock_guard lock(mutex_);
  bool written = moved_stamp_ > stamp.value;
  for_each_page(offset, bytes, [&](std::uint64_t page, std::uint64_t chunks) {
    if ((pages_[page].chunks.load(std::memory_order_relaxed) & chunks) != chunks) {
      written = true;
      return;
    }
    const Record& record = records_.find(page)->second;
    for_each_one(chunks, [&](std::size_t chunk) { written |= record.stamps[chunk] > stamp.value; });
  });
  return written;
}

bool WriteWatch::is_watched(std::uint64_t offset) const {
  return (pages_[page_of(offset)].chunks.load(std::memory_order_relaxed) &
          chunks_in(page_of(offset), offset, offset + 1)) != 0;
}

void WriteWatch::break_lines(std::uint64_t begin, std::uint64_t end) noexcept {
  for (std::uint64_t page = page_of(begin); page <= page_of(end - 1); ++page) {
    if (pages_[page].reservations.load(std::memory_order_relaxed) == 0) continue;
    const std::uint64_t start = page * kDirtyPageBytes;
    const std::uint64_t stop = std::min(end, start + kDirtyPageBytes);
    for (std::uint64_t at = std::max(begin, start); at < stop;
         at = (at / kReservedLineBytes + 1) * kReservedLineBytes) {
      version_of(at).fetch_add(1);
    }
  }
}

// The version is read after the bit is set: a write that it does not tell of was in memory
// before, or is one that finds the bit.
LineReservation WriteWatch::reserve(std::uint64_t offset, std::atomic<std::uint8_t>& mark) {
  const std::uint64_t page = page_of(offset);
  LineReservation reservation{.offset = offset / kReservedLineBytes * kReservedLineBytes};
  {
    const std::lock_guard lock(lock_of(page));
    if (pages_[page].reservations.fetch_add(1) == 0) mark.fetch_or(kMarkReserved);
    reservation.is_settled = pages_[page].lines_settled.load(std::memory_order_relaxed);
  }
  full_fence();
  reservation.version = version_of(offset).load(std::memory_order_acquire);
  return reservation;
}

// A page that is closed is marked, which breaks what is reserved there: the version is that
// of afterwards. Until then the value was not loaded. A watcher may have given the reservation
// back meanwhile: the page is settled for those that there are.
bool WriteWatch::settle_line(LineReservation& reservation) noexcept {
  const std::uint64_t page = page_of(reservation.offset);
  const CodeRange whole{region_, page * kDirtyPageBytes, kDirtyPageBytes};
  if (!watchers_->guard({&whole, 1})) return false;
  {
    const std::lock_guard lock(lock_of(page));
    const bool is_reserved = pages_[page].reservations.load(std::memory_order_relaxed) != 0;
    pages_[page].lines_settled.store(is_reserved, std::memory_order_relaxed);
  }
  reservation.is_settled = true;
  reservation.version = version_of(reservation.offset).load(std::memory_order_acquire);
  return true;
}

void WriteWatch::unreserve(const LineReservation& reservation, std::atomic<std::uint8_t>& mark) {
  const std::uint64_t page = page_of(reservation.offset);
  const std::lock_guard lock(lock_of(page));
  if (pages_[page].reservations.fetch_sub(1) != 1) return;
  pages_[page].lines_settled.store(false, std::memory_order_relaxed);
  mark.fetch_and(static_cast<std::uint8_t>(~kMarkReserved));
}

}  // namespace vm_mem::internal
