#include "vm_device/internal/ring_core.h"

#include <atomic>
#include <new>
#include <span>

namespace vm_device::internal {
namespace {

constexpr bool wraps(std::uint64_t address, std::uint64_t bytes) {
  return bytes != 0 && bytes - 1 > UINT64_MAX - address;
}

// At a nanosecond each they last for centuries.
std::uint64_t next_epoch() {
  static constinit std::atomic<std::uint64_t> last{0};
  return last.fetch_add(1, std::memory_order_relaxed) + 1;
}

}  // namespace

VirtqueueError RingCore::fail(VirtqueueError error) {
  if (error_ == VirtqueueError::kNone) error_ = error;
  running_ = running_ && error_ == VirtqueueError::kNone;
  if (!running_) memory_.slow_down();
  return error_;
}

void RingCore::reset() {
  running_ = enabled_ = paused_ = in_order_ = waits_ = false;
  error_ = VirtqueueError::kNone;
  unsignalled_ = 0;
  memory_.slow_down();
  translations_ = nullptr;
  epoch_ = alone_ = kNoEpoch;
}

void RingCore::pause() {
  paused_ = true;
  memory_.slow_down();
}

VirtqueueError RingCore::start(const VirtqueueConfig& config, const RingRanges& ranges) {
  for (const RingRange& range : ranges) {
    if (range.address % range.alignment != 0) return fail(VirtqueueError::kRingMisaligned);
  }
  for (const RingRange& range : ranges) {
    if (wraps(range.address, range.bytes)) return fail(VirtqueueError::kRingUnreachable);
  }
  size_ = config.size;
  features_ = config.features;
  in_order_ = has(kFeatureInOrder);
  translations_ = config.translations;
  if (!make_room()) return fail(VirtqueueError::kNoMemory);
  memory_.bind(ranges);
  epoch_ = next_epoch();
  alone_ = in_order_ ? kNoEpoch : epoch_;
  running_ = enabled_ = true;
  return VirtqueueError::kNone;
}

bool RingCore::make_room() {
  if (has(kFeatureRingIndirect) && table_ == nullptr) {
    table_.reset(new (std::nothrow) std::byte[kMaxIndirectDescriptors * kDescriptorBytes]);
    if (table_ == nullptr) return false;
  }
  return !in_order_ || order_.reset(size_);
}

PopStatus RingCore::forget(DescriptorChain& chain, PopStatus status) {
  chain.end_ = chain.readable_end_ = 0;
  chain.bytes_ = chain.readable_bytes_ = 0;
  chain.epoch_ = 0;
  return status;
}

// All of them are asked for at once.
VirtqueueError RingCore::try_hold(const DescriptorChain& chain) {
  waits_ = false;
  if (chain.readable_bytes() + chain.writable_bytes() > BusTranslations::kMostBytes) {
    return VirtqueueError::kRequestTooLong;
  }
  for (const DmaSegment& it : chain.readable()) {
    waits_ = !translations_->settled(it, DmaAccess::kRead) || waits_;
  }
  for (const DmaSegment& it : chain.writable()) {
    waits_ = !translations_->settled(it, DmaAccess::kWrite) || waits_;
  }
  if (!waits_) translations_->hold(chain);
  return VirtqueueError::kNone;
}

void RingCore::put_in_order(const DescriptorChain& chain, std::uint32_t written) {
  order_.put(chain.turn_, {.written = written,
                           .name = chain.name_,
                           .ring_bytes = chain.ring_bytes_,
                           .whole = written == chain.writable_bytes(),
                           .note = chain.note_});
}

VirtqueueError RingCore::read_table(const Descriptor& reference, std::uint32_t& count) {
  if (!has(kFeatureRingIndirect)) return VirtqueueError::kIndirectNotNegotiated;
  const std::uint32_t bytes = reference.bytes;
  if (bytes == 0 || bytes % kDescriptorBytes != 0) return VirtqueueError::kIndirectBadLength;
  count = static_cast<std::uint32_t>(bytes / kDescriptorBytes);
  if (count > kMaxIndirectDescriptors) return VirtqueueError::kIndirectTooLong;
  if (wraps(reference.address, bytes)) return VirtqueueError::kAddressWrap;
  if (translations_ != nullptr) {
    waits_ = !translations_->settled({reference.address, bytes}, DmaAccess::kRead);
    if (waits_) return VirtqueueError::kIndirectUnreachable;
  }
  const bool read = memory_.dma().read(reference.address, std::span(table_.get(), bytes)).ok();
  return read ? VirtqueueError::kNone : VirtqueueError::kIndirectUnreachable;
}

}  // namespace vm_device::internal
