#include "vm_device/internal/packed_ring.h"

#include <utility>

namespace vm_device::internal {
namespace {

// Positions with a wrap counter as bit 15.
constexpr std::uint16_t kWrap = 0x8000;

constexpr std::uint32_t position(std::uint16_t counted) { return counted & kPackedPosition; }

// From one to the other, both of them in a ring of `size`; more than that where `to` is behind.
constexpr std::uint32_t distance(std::uint16_t from, std::uint16_t to, std::uint32_t size) {
  const std::uint32_t wrapped = ((from ^ to) & kWrap) != 0 ? size : 0;
  return position(to) + wrapped - position(from);
}

}  // namespace

VirtqueueError PackedRing::enable(const VirtqueueConfig& config) {
  if (config.size > kWrap) return fail(VirtqueueError::kBadSize);
  const auto at = config.start.value_or(VirtqueueState{kWrap, kWrap});
  const std::uint32_t in_use = distance(at.next_used, at.next_available, config.size);
  if (position(at.next_available) >= config.size || position(at.next_used) >= config.size ||
      in_use > config.size) {
    return fail(VirtqueueError::kBadStart);
  }
  const RingRanges ranges{{{config.descriptor_table, config.size * kDescriptorBytes,
                            kDescriptorBytes, DmaAccess::kReadWrite},
                           {config.driver_area, kEventBytes, kEventBytes, DmaAccess::kRead},
                           {config.device_area, kEventBytes, kEventBytes, DmaAccess::kWrite}}};
  next_available_ = at.next_available & kPackedPosition;
  next_used_ = at.next_used & kPackedPosition;
  available_flags_ = (at.next_available & kWrap) != 0 ? kPackedAvailable : kPackedUsed;
  used_flags_ = (at.next_used & kWrap) != 0 ? kBothFlags : std::uint16_t{0};
  in_use_ = static_cast<std::uint16_t>(in_use);
  staged_ = 0;
  has_first_ = false;
  run_ = {};
  return start(config, ranges);
}

VirtqueueState PackedRing::state() const {
  const auto wrap_if = [](bool set) { return set ? kWrap : std::uint16_t{0}; };
  return {
      static_cast<std::uint16_t>(next_available_ | wrap_if(available_flags_ == kPackedAvailable)),
      static_cast<std::uint16_t>(next_used_ | wrap_if(used_flags_ != 0))};
}

PopStatus PackedRing::pop(DescriptorChain& chain) {
  if (!running_) [[unlikely]]
    return at_rest();
  if (memory_.is_direct()) [[likely]]
    return pop_on(DirectPath(memory_), chain);
  return pop_on(DmaPath(memory_), chain);
}

template <typename Path>
[[gnu::always_inline]] inline PopStatus PackedRing::pop_on(Path path, DescriptorChain& chain) {
  std::uint64_t first = 0;
  if (!path.load(RingPart::kDescriptors, flags_offset(next_available_), first,
                 std::memory_order_acquire)) {
    return stop(VirtqueueError::kRingUnreachable);
  }
  if ((first >> 48 & kBothFlags) != available_flags_) return PopStatus::kEmpty;
  const VirtqueueError error = take(path, first, chain);
  if (error != VirtqueueError::kNone) [[unlikely]]
    return stop(error);
  return PopStatus::kChain;
}

// The descriptors of a request lie one behind the other; the last has its ID. A driver makes
// the first available after the others, so those are not looked at for it.
template <typename Path>
[[gnu::always_inline]] inline VirtqueueError PackedRing::take(Path path, std::uint64_t first,
                                                              DescriptorChain& chain) {
  ChainWriter writer(chain);
  const std::uint32_t room = size_ - std::uint32_t{in_use_};
  Descriptor it{.address = 0, .rest = first};
  std::uint32_t index = next_available_;
  std::uint32_t taken = 0;
  if (room == 0) [[unlikely]]
    return VirtqueueError::kRingOverrun;
  while (true) {
    if (!path.load(RingPart::kDescriptors, index * kDescriptorBytes, it.address,
                   std::memory_order_relaxed)) {
      return VirtqueueError::kRingUnreachable;
    }
    const unsigned flags = it.packed_flags();
    ++taken;
    if ((flags & kDescriptorIndirect) != 0) [[unlikely]] {
      if (taken != 1 || (flags & kDescriptorNext) != 0) return VirtqueueError::kIndirectWithNext;
      return take_indirect(it, chain);
    }
    const VirtqueueError error = writer.append(it.address, it.bytes(), flags);
    if (error != VirtqueueError::kNone) [[unlikely]]
      return error;
    if ((flags & kDescriptorNext) == 0) break;
    if (taken == room) return room == size_ ? VirtqueueError::kLoop : VirtqueueError::kRingOverrun;
    if (++index == size_) [[unlikely]]
      index = 0;
    if (!path.load(RingPart::kDescriptors, flags_offset(index), it.rest,
                   std::memory_order_relaxed)) {
      return VirtqueueError::kRingUnreachable;
    }
  }
  writer.finish();
  return accept(it.packed_id(), taken, chain);
}

// Of the flags in the table only WRITE has a meaning; they are in order.
[[gnu::noinline]] VirtqueueError PackedRing::take_indirect(const Descriptor& reference,
                                                           DescriptorChain& chain) {
  std::uint32_t count = 0;
  if (const auto error = read_table(reference, count); error != VirtqueueError::kNone) return error;
  ChainWriter writer(chain);
  for (std::uint32_t index = 0; index < count; ++index) {
    const Descriptor it = table(index);
    const VirtqueueError error = writer.append(it.address, it.bytes(), it.packed_flags());
    if (error != VirtqueueError::kNone) return error;
  }
  writer.finish();
  return accept(reference.packed_id(), 1, chain);
}

[[gnu::always_inline]] inline VirtqueueError PackedRing::accept(std::uint16_t id,
                                                                std::uint32_t descriptors,
                                                                DescriptorChain& chain) {
  if (id >= size_) [[unlikely]]
    return VirtqueueError::kBufferIdOutOfRange;
  sign(chain, id, static_cast<std::uint16_t>(descriptors));
  advance_available(descriptors);
  return VirtqueueError::kNone;
}

inline void PackedRing::advance_available(std::uint32_t descriptors) {
  in_use_ = static_cast<std::uint16_t>(in_use_ + descriptors);
  std::uint32_t next = next_available_ + descriptors;
  if (next >= size_) [[unlikely]] {
    next -= size_;
    available_flags_ ^= kBothFlags;
  }
  next_available_ = static_cast<std::uint16_t>(next);
}

inline void PackedRing::advance_used(std::uint32_t descriptors) {
  in_use_ = static_cast<std::uint16_t>(in_use_ - descriptors);
  std::uint32_t next = next_used_ + descriptors;
  if (next >= size_) [[unlikely]] {
    next -= size_;
    used_flags_ ^= kBothFlags;
  }
  next_used_ = static_cast<std::uint16_t>(next);
}

// WRITE says that the length means something.
inline std::uint64_t PackedRing::used_word(std::uint16_t id, std::uint32_t written,
                                           std::uint16_t flags) {
  const std::uint64_t all = written == 0 ? flags : std::uint64_t{flags} | kDescriptorWrite;
  return written | std::uint64_t{id} << 32 | all << 48;
}

template <typename Path>
[[gnu::always_inline]] inline bool PackedRing::publish_on(Path path, std::uint16_t at,
                                                          std::uint64_t word) {
  return path.store(RingPart::kDescriptors, flags_offset(at), word, std::memory_order_seq_cst) ||
         unreachable();
}

VirtqueueError PackedRing::push(const DescriptorChain& chain, std::uint32_t written) {
  if (!can_take_back(chain) || in_order_ || staged_ != 0) [[unlikely]] {
    const VirtqueueError error = stage(chain, written);
    return error == VirtqueueError::kNone ? publish() : error;
  }
  const std::uint64_t word = used_word(chain.head(), written, used_flags_);
  const bool given = memory_.is_direct() ? publish_on(DirectPath(memory_), next_used_, word)
                                         : publish_on(DmaPath(memory_), next_used_, word);
  if (!given) return error_;
  unsignalled_ += descriptors_of(chain);
  advance_used(descriptors_of(chain));
  return VirtqueueError::kNone;
}

VirtqueueError PackedRing::stage(const DescriptorChain& chain, std::uint32_t written) {
  if (!can_take_back(chain)) return error_;
  if (in_order_) {
    put_in_order(chain, written);
    stage_in_order();
    return error_;
  }
  stage_word(next_used_, used_word(chain.head(), written, used_flags_));
  staged_ += descriptors_of(chain);
  advance_used(descriptors_of(chain));
  return error_;
}

void PackedRing::stage_in_order() {
  for (Completion it; order_.next(it);) {
    if (!run_.last.whole) end_run();
    if (!run_.open) {
      run_ = {.open = true, .at = next_used_, .last = {}};
      run_flags_ = used_flags_;
    }
    run_.last = it;
    staged_ += it.descriptors;
    advance_used(it.descriptors);
  }
}

void PackedRing::end_run() {
  if (!run_.open) return;
  run_.open = false;
  stage_word(run_.at, used_word(run_.last.id, run_.last.written, run_flags_));
}

// The driver looks at the next one before those behind it.
void PackedRing::stage_word(std::uint16_t at, std::uint64_t word) {
  if (!has_first_) {
    has_first_ = true;
    first_at_ = at;
    first_word_ = word;
    return;
  }
  on_path([&](auto path) {
    if (!path.store(RingPart::kDescriptors, flags_offset(at), word, std::memory_order_relaxed)) {
      unreachable();
    }
  });
}

VirtqueueError PackedRing::publish() {
  if (!enabled_ || staged_ == 0) return error_;
  end_run();
  unsignalled_ += std::exchange(staged_, 0);
  has_first_ = false;
  on_path([&](auto path) { publish_on(path, first_at_, first_word_); });
  return error_;
}

// Sequentially consistent, as is the store that publishes: as in the split form.
bool PackedRing::wants_interrupt() {
  if (unsignalled_ == 0) return false;
  const std::uint32_t published = std::exchange(unsignalled_, 0);
  std::uint32_t wish = 0;
  const bool loaded = on_path(
      [&](auto path) { return path.load(RingPart::kDriver, 0, wish, std::memory_order_seq_cst); });
  if (!loaded) return unreachable();
  const std::uint32_t flags = wish >> 16 & 3;
  if (flags == kEventsDisable) return false;
  if (flags != kEventsDescriptor || !has(kFeatureRingEventIdx)) return true;
  // How far the descriptor that the driver named lies behind the next one to be used. Within
  // one lap wrap counters tell which came first.
  if (published >= size_) return true;
  const auto event = static_cast<std::uint16_t>(wish);
  const std::uint32_t behind = distance(event, state().next_used, size_);
  return behind - 1 < published;
}

void PackedRing::suppress_notifications() {
  if (!running_) return;
  on_path([&](auto path) {
    const std::uint32_t wish = std::uint32_t{kEventsDisable} << 16;
    if (!path.store(RingPart::kDevice, 0, wish, std::memory_order_relaxed)) unreachable();
  });
}

bool PackedRing::resume_notifications() {
  if (!running_) return false;
  const std::uint32_t wish = has(kFeatureRingEventIdx)
                                 ? std::uint32_t{kEventsDescriptor} << 16 | state().next_available
                                 : std::uint32_t{kEventsEnable} << 16;
  std::uint64_t first = 0;
  const bool told = on_path([&](auto path) {
    return path.store(RingPart::kDevice, 0, wish, std::memory_order_seq_cst) &&
           path.load(RingPart::kDescriptors, flags_offset(next_available_), first,
                     std::memory_order_seq_cst);
  });
  return told ? (first >> 48 & kBothFlags) == available_flags_ : unreachable();
}

}  // namespace vm_device::internal
