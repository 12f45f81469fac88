#include "vm_device/internal/packed_ring.h"

#include <algorithm>
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
  if (position(at.next_used) >= config.size || at.next_available != at.next_used) {
    return fail(VirtqueueError::kBadStart);
  }
  const RingRanges ranges{{{config.descriptor_table, config.size * kDescriptorBytes,
                            kDescriptorBytes, DmaAccess::kReadWrite},
                           {config.driver_area, kEventBytes, kEventBytes, DmaAccess::kRead},
                           {config.device_area, kEventBytes, kEventBytes, DmaAccess::kWrite}}};
  next_available_ = at.next_available & kPackedPosition;
  next_used_ = at.next_used & kPackedPosition;
  available_flags_ = (at.next_available & kWrap) != 0 ? kAvailableFlag : kUsedFlag;
  used_flags_ = (at.next_used & kWrap) != 0 ? kBothFlags : 0;
  in_use_ = 0;
  staged_ = 0;
  has_first_ = false;
  run_ = {};
  return start(config, ranges);
}

VirtqueueState PackedRing::state() const {
  const auto wrap_if = [](bool set) { return set ? kWrap : std::uint16_t{0}; };
  return {static_cast<std::uint16_t>(next_available_ | wrap_if(available_flags_ == kAvailableFlag)),
          static_cast<std::uint16_t>(next_used_ | wrap_if(used_flags_ != 0))};
}

// As in the split form; the descriptors lie one behind the other.
template <unsigned kWriteFlag>
[[gnu::always_inline]] inline PackedRing::Walk PackedRing::walk(const std::byte* end, Place& at,
                                                                ChainWriter& writer) {
  constexpr std::uint32_t kLast = std::uint32_t{kWriteFlag} << 16;
  while (true) {
    const std::uint32_t kind = at.rest & kKinds;
    if (kind != (kLast | kNextKind)) {
      if (kind != kLast) return Walk::kOtherFlags;
      return put(at, writer) ? Walk::kComplete : Walk::kOdd;
    }
    if (!put(at, writer) || at.descriptor == end) [[unlikely]]
      return Walk::kOdd;
    at.rest =
        DirectPath::get<std::uint32_t>(at.descriptor + kDescriptorRest, std::memory_order_relaxed);
  }
}

// Goes past it.
[[gnu::always_inline]] inline bool PackedRing::put(Place& at, ChainWriter& writer) {
  const auto address = DirectPath::get<std::uint64_t>(at.descriptor, std::memory_order_relaxed);
  const auto bytes =
      DirectPath::get<std::uint32_t>(at.descriptor + kDescriptorLength, std::memory_order_relaxed);
  at.descriptor += kDescriptorBytes;
  return writer.try_put(address, bytes);
}

// The short way, as that of the split form: for a request before the end of the ring.
PopStatus PackedRing::pop(DescriptorChain& chain) {
  if (!memory_.is_quick()) [[unlikely]]
    return pop_slowly(chain);
  const std::byte* const ring = DirectPath(memory_).host(RingPart::kDescriptors);
  Place at{.descriptor = ring + next_available_ * kDescriptorBytes, .rest = 0};
  at.rest =
      DirectPath::get<std::uint32_t>(at.descriptor + kDescriptorRest, std::memory_order_acquire);
  if (!is_available(at.rest)) return PopStatus::kEmpty;
  ChainWriter writer(chain);
  const std::byte* const end = ring + size_ * kDescriptorBytes;
  const Walk readable = walk<0>(end, at, writer);
  if (readable == Walk::kComplete) return accept_quickly(at, 0, writer, chain);
  if (readable == Walk::kOtherFlags) {
    writer.begin_writable();
    if (walk<kDescriptorWrite>(end, at, writer) == Walk::kComplete) {
      return accept_quickly(at, kDescriptorWrite, writer, chain);
    }
  }
  return pop_again(chain);
}

[[gnu::always_inline]] inline PopStatus PackedRing::accept_quickly(const Place& at,
                                                                   std::uint16_t write_flag,
                                                                   ChainWriter& writer,
                                                                   DescriptorChain& chain) {
  const std::uint32_t size = size_;
  const auto taken = static_cast<std::uint32_t>(writer.offset() / sizeof(DmaSegment));
  const std::uint32_t in_use = in_use_ + taken;
  const std::uint32_t id = at.rest & UINT16_MAX;
  if (id >= size || in_use > size) [[unlikely]]
    return pop_again(chain);
  writer.finish();
  set_descriptors(chain, static_cast<std::uint16_t>(taken));
  sign(chain, id | std::uint32_t{write_flag} << 16);
  in_use_ = static_cast<std::uint16_t>(in_use);
  const std::uint32_t next = next_available_ + taken;
  next_available_ = static_cast<std::uint16_t>(next);
  if (next == size) [[unlikely]]
    wrap_available();
  return PopStatus::kChain;
}

[[gnu::noinline]] PopStatus PackedRing::pop_slowly(DescriptorChain& chain) {
  if (error_ != VirtqueueError::kNone) return forget(chain, PopStatus::kError);
  if (!running_) return PopStatus::kEmpty;
  prepare_quick_path();
  const PopStatus status = on_path([&](auto path) { return pop_on(path, chain); });
  return status == PopStatus::kError ? forget(chain, status) : status;
}

// What the short way has left in the chain is half of a request.
[[gnu::noinline]] PopStatus PackedRing::pop_again(DescriptorChain& chain) {
  forget(chain, PopStatus::kEmpty);
  return pop_slowly(chain);
}

template <typename Path>
PopStatus PackedRing::pop_on(Path path, DescriptorChain& chain) {
  Descriptor first{};
  const std::uint64_t offset = next_available_ * kDescriptorBytes;
  if (!path.load(RingPart::kDescriptors, offset + kDescriptorRest, first.rest,
                 std::memory_order_acquire)) {
    return stop(VirtqueueError::kRingUnreachable);
  }
  if (!is_available(first.rest)) return PopStatus::kEmpty;
  if (!path.load_buffer_at(offset, first)) return stop(VirtqueueError::kRingUnreachable);
  const VirtqueueError error = take(path, first, chain);
  return error == VirtqueueError::kNone ? PopStatus::kChain : stop(error);
}

// The last descriptor of a request has its ID. A driver makes the first available after the
// others, so those are not looked at for it.
template <typename Path>
VirtqueueError PackedRing::take(Path path, Descriptor it, DescriptorChain& chain) {
  if (in_use_ >= size_) return VirtqueueError::kRingOverrun;
  const std::uint32_t room = size_ - std::uint32_t{in_use_};
  ChainWriter writer(chain);
  std::uint32_t index = next_available_;
  std::uint32_t taken = 1;
  while (true) {
    const unsigned flags = it.packed_flags();
    if ((flags & kDescriptorIndirect) != 0) {
      if (taken != 1 || (flags & kDescriptorNext) != 0) return VirtqueueError::kIndirectWithNext;
      return take_indirect(it, chain);
    }
    const VirtqueueError error = writer.append(it.address, it.bytes, flags);
    if (error != VirtqueueError::kNone) return error;
    if ((flags & kDescriptorNext) == 0) break;
    if (taken == room) return room == size_ ? VirtqueueError::kLoop : VirtqueueError::kRingOverrun;
    ++taken;
    if (++index == size_) index = 0;
    if (!path.load_descriptor(index, it)) return VirtqueueError::kRingUnreachable;
  }
  writer.finish();
  return accept(it.packed_id(), taken, chain);
}

// Of the flags in the table only WRITE has a meaning; they are in order.
VirtqueueError PackedRing::take_indirect(Descriptor reference, DescriptorChain& chain) {
  std::uint32_t count = 0;
  if (const auto error = read_table(reference, count); error != VirtqueueError::kNone) return error;
  ChainWriter writer(chain);
  for (std::uint32_t index = 0; index < count; ++index) {
    const Descriptor it = table(index);
    const VirtqueueError error = writer.append(it.address, it.bytes, it.packed_flags());
    if (error != VirtqueueError::kNone) return error;
  }
  writer.finish();
  return accept(reference.packed_id(), 1, chain);
}

VirtqueueError PackedRing::accept(std::uint32_t id, std::uint32_t descriptors,
                                  DescriptorChain& chain) {
  if (id >= size_) [[unlikely]]
    return VirtqueueError::kBufferIdOutOfRange;
  set_descriptors(chain, static_cast<std::uint16_t>(descriptors));
  const std::uint32_t write_flag = chain.writable_bytes() != 0 ? kDescriptorWrite : 0;
  sign(chain, id | write_flag << 16);
  take_turn(chain);
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

template <typename Path>
bool PackedRing::publish_on(Path path, std::uint16_t at, std::uint64_t word) {
  return path.store(RingPart::kDescriptors, used_offset(at), word, std::memory_order_seq_cst) ||
         unreachable();
}

VirtqueueError PackedRing::push(const DescriptorChain& chain, std::uint32_t written) {
  const std::uint32_t descriptors = descriptors_of(chain);
  if (!memory_.is_quick() || !is_ours_alone(chain) || descriptors > in_use_) [[unlikely]]
    return push_slowly(chain, written);
  const DirectPath path(memory_);
  const std::uint64_t word = used_word(name_of(chain) | used_flags_, written);
  const std::uint64_t offset = used_offset(next_used_);
  unsignalled_ += descriptors;
  advance_used(descriptors);
  path.put(path.host(RingPart::kDescriptors) + offset, word, std::memory_order_seq_cst);
  if (!path.are_marked(RingPart::kDescriptors, offset, 1)) [[unlikely]]
    return mark_used(offset);
  return VirtqueueError::kNone;
}

[[gnu::noinline]] VirtqueueError PackedRing::mark_used(std::uint64_t offset) const {
  DirectPath(memory_).mark(RingPart::kDescriptors, offset, sizeof(std::uint64_t));
  return VirtqueueError::kNone;
}

[[gnu::noinline]] VirtqueueError PackedRing::push_slowly(const DescriptorChain& chain,
                                                         std::uint32_t written) {
  const VirtqueueError error = stage(chain, written);
  return error == VirtqueueError::kNone ? publish() : error;
}

VirtqueueError PackedRing::stage(const DescriptorChain& chain, std::uint32_t written) {
  if (!can_take_back(chain)) return error_;
  if (in_order_) {
    put_in_order(chain, written);
    stage_in_order();
    return error_;
  }
  stage_word(next_used_, used_word(name_of(chain) | used_flags_, written));
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
  stage_word(run_.at, used_word(run_.last.name | run_flags_, run_.last.written));
}

// The driver looks at the next one before those behind it.
void PackedRing::stage_word(std::uint16_t at, std::uint64_t word) {
  if (!has_first_) {
    has_first_ = true;
    alone_ = kNoEpoch;
    first_at_ = at;
    first_word_ = word;
    return;
  }
  on_path([&](auto path) {
    if (!path.store(RingPart::kDescriptors, used_offset(at), word, std::memory_order_relaxed)) {
      unreachable();
    }
  });
}

VirtqueueError PackedRing::publish() {
  if (!enabled_ || staged_ == 0) return error_;
  end_run();
  unsignalled_ += std::exchange(staged_, 0);
  has_first_ = false;
  if (!in_order_) alone_ = epoch_;
  on_path([&](auto path) { publish_on(path, first_at_, first_word_); });
  return error_;
}

std::uint16_t PackedRing::published() const {
  const std::uint16_t next = state().next_used;
  if (staged_ <= position(next)) return static_cast<std::uint16_t>(next - staged_);
  return static_cast<std::uint16_t>((next ^ kWrap) + size_ - staged_);
}

// Sequentially consistent, as is the store that publishes: as in the split form.
bool PackedRing::wants_interrupt() {
  if (unsignalled_ == 0) return false;
  const std::uint32_t passed = std::exchange(unsignalled_, 0);
  std::uint32_t wish = 0;
  const bool loaded = on_path(
      [&](auto path) { return path.load(RingPart::kDriver, 0, wish, std::memory_order_seq_cst); });
  if (!loaded) return unreachable();
  const std::uint32_t flags = wish >> 16 & 3;
  if (flags == kEventsDisable) return false;
  if (flags != kEventsDescriptor || !has(kFeatureRingEventIdx)) return true;
  // How far the descriptor that the driver named lies behind the last one that it sees used.
  // Within one lap wrap counters tell which came first.
  if (passed >= size_) return true;
  const auto event = static_cast<std::uint16_t>(wish);
  return distance(event, published(), size_) - 1 < passed;
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
  std::uint32_t first = 0;
  const bool told = on_path([&](auto path) {
    return path.store(RingPart::kDevice, 0, wish, std::memory_order_seq_cst) &&
           path.load(RingPart::kDescriptors, next_available_ * kDescriptorBytes + kDescriptorRest,
                     first, std::memory_order_seq_cst);
  });
  return told ? is_available(first) : unreachable();
}

}  // namespace vm_device::internal
