#include "vm_device/internal/ring_core.h"

namespace vm_device::internal {
namespace {

constexpr bool wraps(std::uint64_t address, std::uint64_t bytes) {
  return bytes > UINT64_MAX - address;
}

}  // namespace

VirtqueueError RingCore::fail(VirtqueueError error) {
  if (error_ == VirtqueueError::kNone) error_ = error;
  running_ = running_ && error_ == VirtqueueError::kNone;
  if (!running_) memory_.slow_down();
  return error_;
}

void RingCore::reset() {
  running_ = enabled_ = in_order_ = false;
  error_ = VirtqueueError::kNone;
  unsignalled_ = 0;
  memory_.slow_down();
  alone_ = kNoEpoch;
  if (++epoch_ == kNoEpoch) epoch_ = 1;
}

VirtqueueError RingCore::start(const VirtqueueConfig& config, const RingRanges& ranges) {
  for (const RingRange& range : ranges) {
    if (range.address % range.alignment != 0) return fail(VirtqueueError::kRingMisaligned);
  }
  for (const RingRange& range : ranges) {
    if (wraps(range.address, range.bytes)) return fail(VirtqueueError::kRingUnreachable);
  }
  memory_.bind(ranges);
  size_ = config.size;
  features_ = config.features;
  in_order_ = has(kFeatureInOrder);
  alone_ = in_order_ ? kNoEpoch : epoch_;
  if (in_order_) order_.reset(size_);
  running_ = enabled_ = true;
  return VirtqueueError::kNone;
}

void RingCore::put_in_order(const DescriptorChain& chain, std::uint32_t written) {
  order_.put(chain.turn_, {.written = written,
                           .id = chain.head_,
                           .descriptors = chain.descriptors_,
                           .whole = written == chain.writable_bytes()});
}

VirtqueueError RingCore::read_table(const Descriptor& reference, std::uint32_t& count) {
  if (!has(kFeatureRingIndirect)) return VirtqueueError::kIndirectNotNegotiated;
  const std::uint32_t bytes = reference.bytes;
  if (bytes == 0 || bytes % kDescriptorBytes != 0) return VirtqueueError::kIndirectBadLength;
  count = static_cast<std::uint32_t>(bytes / kDescriptorBytes);
  if (count > kMaxIndirectDescriptors) return VirtqueueError::kIndirectTooLong;
  if (wraps(reference.address, bytes)) return VirtqueueError::kAddressWrap;
  if (table_.size() < bytes) table_.resize(bytes);
  const bool read = memory_.dma().read(reference.address, std::span(table_).first(bytes)).ok();
  return read ? VirtqueueError::kNone : VirtqueueError::kIndirectUnreachable;
}

}  // namespace vm_device::internal
