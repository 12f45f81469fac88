#include "vm_device/virtqueue.h"

#include <array>

#include "vm_device/internal/virtio_layout.h"
#include "vm_device/virtio_features.h"

namespace vm_device {
namespace {

using internal::kAvailableEntryBytes;
using internal::kDescriptorBytes;
using internal::kDescriptorIndirect;
using internal::kDescriptorNext;
using internal::kDescriptorWrite;
using internal::kRingEntries;
using internal::kRingIndex;
using internal::kUsedEntryBytes;

constexpr bool wraps(std::uint64_t address, std::uint64_t bytes) {
  return bytes > UINT64_MAX - address;
}

constexpr std::uint64_t event_offset(std::uint64_t size, std::uint64_t entry_bytes) {
  return kRingEntries + size * entry_bytes;
}

}  // namespace

// A copy of what the guest wrote.
struct Virtqueue::Descriptor {
  std::uint64_t address;
  std::uint32_t bytes;
  std::uint16_t flags;
  std::uint16_t next;

  static Descriptor decode(const std::byte* from) {
    return {internal::get_little_endian<std::uint64_t>(from),
            internal::get_little_endian<std::uint32_t>(from + 8),
            internal::get_little_endian<std::uint16_t>(from + 12),
            internal::get_little_endian<std::uint16_t>(from + 14)};
  }
};

VirtqueueError Virtqueue::check(const VirtqueueConfig& config) const {
  const std::uint64_t size = config.size;
  if (size == 0 || (size & (size - 1)) != 0 || size > max_size_) return VirtqueueError::kBadSize;
  if (config.descriptor_table % 16 != 0 || config.driver_area % 2 != 0 ||
      config.device_area % 4 != 0) {
    return VirtqueueError::kRingMisaligned;
  }
  if (wraps(config.descriptor_table, size * kDescriptorBytes) ||
      wraps(config.driver_area, event_offset(size, kAvailableEntryBytes) + 2) ||
      wraps(config.device_area, event_offset(size, kUsedEntryBytes) + 2)) {
    return VirtqueueError::kRingUnreachable;
  }
  return VirtqueueError::kNone;
}

VirtqueueError Virtqueue::enable(const VirtqueueConfig& config) {
  reset();
  if (const VirtqueueError error = check(config); error != VirtqueueError::kNone) {
    return fail(error);
  }
  config_ = config;
  enabled_ = true;
  return VirtqueueError::kNone;
}

void Virtqueue::reset() {
  config_ = {};
  enabled_ = false;
  error_ = VirtqueueError::kNone;
  available_ = next_available_ = next_used_ = signalled_used_ = 0;
}

VirtqueueError Virtqueue::fail(VirtqueueError error) {
  if (error_ == VirtqueueError::kNone) error_ = error;
  return error_;
}

PopStatus Virtqueue::stop(VirtqueueError error) {
  fail(error);
  return PopStatus::kError;
}

bool Virtqueue::load(std::uint64_t address, std::uint16_t& value, std::memory_order order) {
  std::uint16_t raw = 0;
  if (!dma_->load(address, raw, order).ok()) {
    fail(VirtqueueError::kRingUnreachable);
    return false;
  }
  value = internal::little_endian(raw);
  return true;
}

bool Virtqueue::store(std::uint64_t address, std::uint16_t value, std::memory_order order) {
  if (dma_->store(address, internal::little_endian(value), order).ok()) return true;
  fail(VirtqueueError::kRingUnreachable);
  return false;
}

PopStatus Virtqueue::pop(DescriptorChain& chain) {
  if (error_ != VirtqueueError::kNone) return PopStatus::kError;
  if (!enabled_) return PopStatus::kEmpty;
  if (next_available_ == available_) {
    std::uint16_t available = 0;
    if (!load(config_.driver_area + kRingIndex, available, std::memory_order_acquire)) {
      return PopStatus::kError;
    }
    const auto ahead = static_cast<std::uint16_t>(available - next_available_);
    if (ahead == 0) return PopStatus::kEmpty;
    if (ahead > config_.size) return stop(VirtqueueError::kAvailableJump);
    available_ = available;
  }
  const std::uint64_t slot = next_available_ % config_.size;
  std::uint16_t head = 0;
  if (!load(config_.driver_area + kRingEntries + slot * kAvailableEntryBytes, head,
            std::memory_order_relaxed)) {
    return PopStatus::kError;
  }
  const VirtqueueError error = take(head, chain);
  if (error != VirtqueueError::kNone) return stop(error);
  ++next_available_;
  return PopStatus::kChain;
}

VirtqueueError Virtqueue::take(std::uint16_t head, DescriptorChain& chain) {
  if (head >= config_.size) return VirtqueueError::kHeadOutOfRange;
  chain.segments_.clear();
  chain.readable_count_ = 0;
  chain.readable_bytes_ = chain.writable_bytes_ = 0;
  chain.has_writable_ = false;
  chain.head_ = head;
  const auto fetch = [this](std::uint32_t index, Descriptor& descriptor) {
    std::array<std::byte, kDescriptorBytes> copy;
    if (!dma_->read(config_.descriptor_table + index * kDescriptorBytes, copy).ok()) return false;
    descriptor = Descriptor::decode(copy.data());
    return true;
  };
  return follow(head, config_.size, Table::kDirect, fetch, chain);
}

// Walks one table of `count` descriptors. Every step takes a descriptor, and a chain
// has no descriptor twice: more steps than descriptors are a loop.
template <typename Fetch>
VirtqueueError Virtqueue::follow(std::uint32_t start, std::uint32_t count, Table table, Fetch fetch,
                                 DescriptorChain& chain) {
  std::uint32_t index = start;
  for (std::uint32_t taken = 0; taken < count; ++taken) {
    Descriptor descriptor;
    if (!fetch(index, descriptor)) return VirtqueueError::kRingUnreachable;
    if ((descriptor.flags & kDescriptorIndirect) != 0) {
      if (table == Table::kIndirect) return VirtqueueError::kIndirectNested;
      return take_indirect(descriptor, chain);
    }
    if (const auto error = append(descriptor, chain); error != VirtqueueError::kNone) return error;
    if ((descriptor.flags & kDescriptorNext) == 0) return VirtqueueError::kNone;
    if (descriptor.next >= count) return VirtqueueError::kNextOutOfRange;
    index = descriptor.next;
  }
  return VirtqueueError::kLoop;
}

// The whole table is copied before any of it is judged. Its own WRITE flag means
// nothing (section 2.7.5.3.2).
VirtqueueError Virtqueue::take_indirect(const Descriptor& reference, DescriptorChain& chain) {
  if ((config_.features & kFeatureRingIndirect) == 0) {
    return VirtqueueError::kIndirectNotNegotiated;
  }
  if ((reference.flags & kDescriptorNext) != 0) return VirtqueueError::kIndirectWithNext;
  if (reference.bytes == 0 || reference.bytes % kDescriptorBytes != 0) {
    return VirtqueueError::kIndirectBadLength;
  }
  const auto count = static_cast<std::uint32_t>(reference.bytes / kDescriptorBytes);
  if (count > kMaxIndirectDescriptors) return VirtqueueError::kIndirectTooLong;
  if (wraps(reference.address, reference.bytes)) return VirtqueueError::kAddressWrap;
  indirect_.resize(reference.bytes);
  if (!dma_->read(reference.address, indirect_).ok()) return VirtqueueError::kIndirectUnreachable;
  const auto fetch = [this](std::uint32_t index, Descriptor& descriptor) {
    descriptor = Descriptor::decode(&indirect_[index * kDescriptorBytes]);
    return true;
  };
  return follow(0, count, Table::kIndirect, fetch, chain);
}

VirtqueueError Virtqueue::append(const Descriptor& descriptor, DescriptorChain& chain) const {
  const bool writable = (descriptor.flags & kDescriptorWrite) != 0;
  if (!writable && chain.has_writable_) return VirtqueueError::kReadAfterWrite;
  if (wraps(descriptor.address, descriptor.bytes)) return VirtqueueError::kAddressWrap;
  chain.has_writable_ = writable;
  if (descriptor.bytes == 0) return VirtqueueError::kNone;
  chain.segments_.push_back({descriptor.address, descriptor.bytes});
  if (writable) {
    chain.writable_bytes_ += descriptor.bytes;
  } else {
    ++chain.readable_count_;
    chain.readable_bytes_ += descriptor.bytes;
  }
  return VirtqueueError::kNone;
}

VirtqueueError Virtqueue::push(const DescriptorChain& chain, std::uint32_t written) {
  if (error_ != VirtqueueError::kNone || !enabled_) return error_;
  const std::uint64_t slot = next_used_ % config_.size;
  const std::uint64_t entry = config_.device_area + kRingEntries + slot * kUsedEntryBytes;
  const std::uint32_t id = chain.head();
  if (!dma_->store(entry, internal::little_endian(id)).ok() ||
      !dma_->store(entry + 4, internal::little_endian(written)).ok()) {
    return fail(VirtqueueError::kRingUnreachable);
  }
  ++next_used_;
  store(config_.device_area + kRingIndex, next_used_, std::memory_order_seq_cst);
  return error_;
}

// Sequentially consistent, as is the store of the used index before it: the driver has
// a barrier between its wish and its look at the index, so that one of the two sees the
// other.
bool Virtqueue::wants_interrupt() {
  if (next_used_ == signalled_used_) return false;
  const std::uint16_t before = signalled_used_;
  signalled_used_ = next_used_;
  if ((config_.features & kFeatureRingEventIdx) == 0) {
    std::uint16_t flags = 0;
    return load(config_.driver_area, flags, std::memory_order_seq_cst) &&
           (flags & internal::kAvailableNoInterrupt) == 0;
  }
  std::uint16_t event = 0;
  if (!load(config_.driver_area + event_offset(config_.size, kAvailableEntryBytes), event,
            std::memory_order_seq_cst)) {
    return false;
  }
  // Whether [before, next_used_) holds the entry that the driver named.
  return static_cast<std::uint16_t>(next_used_ - event - 1) <
         static_cast<std::uint16_t>(next_used_ - before);
}

// With event indices there is nothing to write: the one named last has passed.
void Virtqueue::suppress_notifications() {
  if (error_ != VirtqueueError::kNone || !enabled_) return;
  if ((config_.features & kFeatureRingEventIdx) != 0) return;
  store(config_.device_area, internal::kUsedNoNotify, std::memory_order_relaxed);
}

// Sequentially consistent for the same reason, the other way round.
bool Virtqueue::resume_notifications() {
  if (error_ != VirtqueueError::kNone || !enabled_) return false;
  const bool told = (config_.features & kFeatureRingEventIdx) != 0
                        ? store(config_.device_area + event_offset(config_.size, kUsedEntryBytes),
                                next_available_, std::memory_order_seq_cst)
                        : store(config_.device_area, 0, std::memory_order_seq_cst);
  if (!told) return false;
  std::uint16_t available = 0;
  return load(config_.driver_area + kRingIndex, available, std::memory_order_seq_cst) &&
         available != next_available_;
}

}  // namespace vm_device
