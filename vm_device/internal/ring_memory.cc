#include "vm_device/internal/ring_memory.h"

#include "vm_mem/dirty_log.h"

namespace vm_device::internal {

namespace {

constexpr std::atomic<std::uint64_t> kNoChanges{0};

}  // namespace

RingMemory::RingMemory(DmaSpace& dma)
    : changes_(dma.direct_ == nullptr ? &kNoChanges : &dma.direct_->changes()),
      dma_(&dma),
      reader_(dma.direct_) {}

void RingMemory::bind(const RingRanges& ranges) {
  ranges_ = ranges;
  quick_ = seen_ = kNever;
  direct_ = false;
}

// All parts or none: a queue with one foot in a device gains nothing from the others.
bool RingMemory::renew() {
  reader_->map();
  seen_ = changes_->load(std::memory_order_acquire);
  direct_ = true;
  for (std::size_t i = 0; i < kRingParts; ++i) direct_ = direct_ && open(ranges_[i], windows_[i]);
  return direct_;
}

bool RingMemory::open(const RingRange& range, Window& window) const {
  const vm_mem::MapSlot& slot = reader_->slot(vm_mem::GuestAddress{range.address});
  const std::uint64_t offset = range.address - slot.begin;
  const bool reachable = slot.loads(offset, range.bytes) &&
                         (range.access == DmaAccess::kRead || slot.stores(offset, range.bytes));
  if (!reachable) return false;
  window.host = slot.host + offset;
  // Memory of the embedder's may lie anywhere in the host.
  if (reinterpret_cast<std::uintptr_t>(window.host) % range.alignment != 0) return false;
  window.marks = slot.marks + (offset / vm_mem::kGuestPageBytes & slot.marks_mask);
  window.marks_mask = slot.marks_mask;
  window.page_offset = offset % vm_mem::kGuestPageBytes;
  window.in_one_page = window.page_offset + range.bytes <= vm_mem::kGuestPageBytes;
  window.slot = &slot;
  window.slot_offset = offset;
  return true;
}

void RingMemory::mark(const Window& window, std::uint64_t offset, std::uint64_t bytes) {
  window.slot->dirty_log->mark(window.slot->region_offset + window.slot_offset + offset, bytes,
                               vm_mem::WriteCause::kDma);
}

}  // namespace vm_device::internal
