#include "vm_device/dma.h"

#include <algorithm>

#include "vm_device/internal/transaction.h"

namespace vm_device {
namespace {

using vm_mem::AccessFault;
using vm_mem::GuestAddress;
using vm_mem::Route;

// kBusy is the guard's word for re-entrance, but a device may use it for its own
// reasons: the guard leaves a note in the entry.
DmaFault fault_of(AccessFault fault, const internal::TransactionEntry& entry) {
  switch (fault) {
    case AccessFault::kNone: return DmaFault::kNone;
    case AccessFault::kUnmapped: return DmaFault::kUnmapped;
    case AccessFault::kReadOnly: return DmaFault::kReadOnly;
    case AccessFault::kProtected: return DmaFault::kProtected;
    case AccessFault::kDevice: return DmaFault::kDevice;
    case AccessFault::kHostFault: return DmaFault::kHostFault;
    case AccessFault::kBusy: return entry.was_refused() ? DmaFault::kReentrant : DmaFault::kBusy;
    case AccessFault::kMisaligned: return DmaFault::kMisaligned;
  }
  return DmaFault::kDevice;
}

// Calls `move(address, bytes, done)` for each run of the list, `done` bytes into it,
// until `total` bytes are moved, the list ends or a run fails.
template <typename Move>
DmaResult walk(SegmentCursor& cursor, std::uint64_t total, Move move) {
  std::uint64_t done = 0;
  while (done < total) {
    const DmaSegment run = cursor.peek(total - done);
    if (run.bytes == 0) break;
    DmaResult result = move(run, done);
    cursor.skip(result.done);
    done += result.done;
    if (!result.ok()) {
      result.done = done;
      return result;
    }
  }
  return DmaResult{.fault = DmaFault::kNone, .done = done};
}

}  // namespace

std::string_view dma_fault_name(DmaFault fault) {
  switch (fault) {
    case DmaFault::kNone: return "kNone";
    case DmaFault::kUnmapped: return "kUnmapped";
    case DmaFault::kReadOnly: return "kReadOnly";
    case DmaFault::kProtected: return "kProtected";
    case DmaFault::kDevice: return "kDevice";
    case DmaFault::kHostFault: return "kHostFault";
    case DmaFault::kBusy: return "kBusy";
    case DmaFault::kMisaligned: return "kMisaligned";
    case DmaFault::kTranslation: return "kTranslation";
    case DmaFault::kReentrant: return "kReentrant";
  }
  return "unknown";
}

DmaSegment SegmentCursor::peek(std::uint64_t limit) {
  while (!list_.empty() && offset_ == list_.front().bytes) {
    list_ = list_.subspan(1);
    offset_ = 0;
  }
  if (list_.empty()) return {};
  const DmaSegment& segment = list_.front();
  return {segment.address + offset_, std::min(limit, segment.bytes - offset_)};
}

void SegmentCursor::skip(std::uint64_t bytes) {
  while (bytes > 0) {
    const std::uint64_t step = peek(bytes).bytes;
    if (step == 0) return;
    offset_ += step;
    bytes -= step;
  }
}

DmaSpace::DmaSpace(vm_mem::MemoryManager& memory, const vm_mem::MmioHandler* initiator)
    : memory_(&memory), initiator_(initiator) {}

template <typename Access>
DmaResult DmaSpace::as_initiator(Access access) {
  const internal::TransactionEntry entry(internal::EntryKind::kDma, initiator_);
  const vm_mem::AccessResult result = access();
  if (result.ok()) return DmaResult{.fault = DmaFault::kNone, .done = result.done};
  return {fault_of(result.fault, entry), result.done, result.at.value, result.from_end};
}

DmaResult DmaSpace::read(std::uint64_t address, std::span<std::byte> to) {
  return as_initiator([&] { return memory_->read(GuestAddress{address}, to, Route::kDma); });
}

DmaResult DmaSpace::write(std::uint64_t address, std::span<const std::byte> from) {
  return as_initiator([&] { return memory_->write(GuestAddress{address}, from, Route::kDma); });
}

DmaResult DmaSpace::read(SegmentCursor& from, std::span<std::byte> to) {
  return walk(from, to.size(), [&](const DmaSegment& run, std::uint64_t done) {
    return read(run.address, to.subspan(done, run.bytes));
  });
}

DmaResult DmaSpace::write(SegmentCursor& to, std::span<const std::byte> from) {
  return walk(to, from.size(), [&](const DmaSegment& run, std::uint64_t done) {
    return write(run.address, from.subspan(done, run.bytes));
  });
}

DmaResult DmaSpace::read(std::span<const DmaSegment> from, std::span<std::byte> to) {
  SegmentCursor cursor(from);
  return read(cursor, to);
}

DmaResult DmaSpace::write(std::span<const DmaSegment> to, std::span<const std::byte> from) {
  SegmentCursor cursor(to);
  return write(cursor, from);
}

DmaResult DmaSpace::copy(std::uint64_t to, std::uint64_t from, std::uint64_t bytes) {
  return as_initiator([&] {
    return memory_->copy_block(GuestAddress{to}, GuestAddress{from}, bytes, Route::kDma);
  });
}

DmaResult DmaSpace::fill(std::uint64_t to, std::byte value, std::uint64_t bytes) {
  return as_initiator(
      [&] { return memory_->fill_block(GuestAddress{to}, value, bytes, Route::kDma); });
}

DmaResult DmaSpace::fill(std::span<const DmaSegment> to, std::byte value) {
  SegmentCursor cursor(to);
  return walk(cursor, UINT64_MAX, [&](const DmaSegment& run, std::uint64_t) {
    return fill(run.address, value, run.bytes);
  });
}

template <std::unsigned_integral T>
DmaResult DmaSpace::load_word(std::uint64_t address, T& value, std::memory_order order) {
  return as_initiator([&] { return memory_->load(GuestAddress{address}, value, order); });
}

template <std::unsigned_integral T>
DmaResult DmaSpace::store_word(std::uint64_t address, T value, std::memory_order order) {
  return as_initiator([&] { return memory_->store(GuestAddress{address}, value, order); });
}

template DmaResult DmaSpace::load_word(std::uint64_t, std::uint8_t&, std::memory_order);
template DmaResult DmaSpace::load_word(std::uint64_t, std::uint16_t&, std::memory_order);
template DmaResult DmaSpace::load_word(std::uint64_t, std::uint32_t&, std::memory_order);
template DmaResult DmaSpace::load_word(std::uint64_t, std::uint64_t&, std::memory_order);
template DmaResult DmaSpace::store_word(std::uint64_t, std::uint8_t, std::memory_order);
template DmaResult DmaSpace::store_word(std::uint64_t, std::uint16_t, std::memory_order);
template DmaResult DmaSpace::store_word(std::uint64_t, std::uint32_t, std::memory_order);
template DmaResult DmaSpace::store_word(std::uint64_t, std::uint64_t, std::memory_order);

}  // namespace vm_device
