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
  ring_bytes_ = bytes_of(config.size);
  available_at_ = bytes_of(position(at.next_available));
  used_at_ = bytes_of(position(at.next_used));
  available_turn_ = (at.next_available & kWrap) != 0 ? kPackedAvailable : kPackedUsed;
  used_flags_ = (at.next_used & kWrap) != 0 ? kTurns << 16 : 0;
  find_quick_end();
  staged_ = 0;
  has_first_ = false;
  run_ = {};
  return start(config, ranges);
}

VirtqueueState PackedRing::state() const {
  const auto wrap_if = [](bool set) { return set ? kWrap : std::uint16_t{0}; };
  const std::uint16_t available_wrap = wrap_if(available_turn_ == kPackedAvailable);
  return {static_cast<std::uint16_t>(position_of(available_at_) | available_wrap),
          static_cast<std::uint16_t>(position_of(used_at_) | wrap_if(used_flags_ != 0))};
}

template <unsigned kTaken>
[[gnu::always_inline]] inline bool PackedRing::put(const std::byte* first, QuickChain& buffers) {
  const std::byte* const it = first + kTaken * kDescriptorBytes;
  const auto address = DirectPath::get<std::uint64_t>(it, std::memory_order_relaxed);
  const auto bytes =
      DirectPath::get<std::uint32_t>(it + kDescriptorLength, std::memory_order_relaxed);
  return buffers.try_put<kTaken>(address, bytes);
}

template <unsigned kTaken>
[[gnu::always_inline]] inline unsigned PackedRing::kind_of(const std::byte* first) {
  const auto flags = DirectPath::get<std::uint16_t>(
      first + kTaken * kDescriptorBytes + kPackedDescriptorFlags, std::memory_order_relaxed);
  return flags & kKinds;
}

// As in the split form; the descriptors lie one behind the other. `kind` are the flags of the
// next one, of the first with its turn, which is 0 if it is available.
template <unsigned kTaken, unsigned kWriteFlag>
[[gnu::always_inline]] inline PopStatus PackedRing::walk(const std::byte* first, unsigned kind,
                                                         QuickChain buffers,
                                                         DescriptorChain& chain) {
  constexpr unsigned kNext = kTaken + 1;
  if (kind == (kWriteFlag | kDescriptorNext)) [[likely]] {
    if (!put<kTaken>(first, buffers)) [[unlikely]]
      return pop_again(chain);
    if constexpr (kNext != QuickChain::kMost) {
      return walk<kNext, kWriteFlag>(first, kind_of<kNext>(first), buffers, chain);
    } else {
      buffers.suspend<kWriteFlag>();
      return walk_on(chain);
    }
  }
  if (kind == kDescriptorWrite) {
    if constexpr (kWriteFlag == 0) buffers.begin_writable<kTaken>();
    return accept_quickly<kNext, kDescriptorWrite>(first, buffers, chain);
  }
  if constexpr (kWriteFlag == 0) {
    if (kind == 0) return accept_quickly<kNext, 0>(first, buffers, chain);
    if (kind == (kDescriptorWrite | kDescriptorNext)) {
      buffers.begin_writable<kTaken>();
      return walk<kTaken, kDescriptorWrite>(first, kind, buffers, chain);
    }
  }
  if constexpr (kTaken == 0) {
    if ((kind & kTurns) != 0) return PopStatus::kEmpty;
  }
  return pop_again(chain);
}

[[gnu::noinline]] PopStatus PackedRing::walk_on(DescriptorChain& chain) {
  const DirectPath path(memory_);
  const std::uint32_t end = quick_end_ + bytes_of(QuickChain::kMost);
  ChainWriter writer(chain, ChainWriter::From::kSuspended);
  for (std::uint32_t at = available_at_ + bytes_of(QuickChain::kMost); at < end;) {
    Descriptor it;
    path.load_descriptor_at(at, it);
    if (!writer.try_append(it.address, it.bytes, it.packed_flags())) break;
    at += bytes_of(1);
    if ((it.packed_flags() & kDescriptorNext) != 0) continue;
    writer.finish();
    const std::uint32_t taken = position_of(at - available_at_);
    if (accept(it.packed_id(), taken, chain) != VirtqueueError::kNone) break;
    find_quick_end();
    return PopStatus::kChain;
  }
  return pop_again(chain);
}

// The short way, as that of the split form.
PopStatus PackedRing::pop(DescriptorChain& chain) {
  const std::uint32_t at = available_at_;
  const QuickChain buffers(chain);
  if (!memory_.is_quick() || at >= quick_end_ || !buffers.has_room()) [[unlikely]]
    return pop_slowly(chain);
  const std::byte* const first = DirectPath(memory_).host(RingPart::kDescriptors) + at;
  const unsigned flags =
      DirectPath::get<std::uint16_t>(first + kPackedDescriptorFlags, std::memory_order_acquire);
  return walk<0, 0>(first, (flags & (kTurns | kKinds)) ^ available_turn_, buffers, chain);
}

template <unsigned kTaken, unsigned kWriteFlag>
[[gnu::always_inline]] inline PopStatus PackedRing::accept_quickly(const std::byte* first,
                                                                   QuickChain buffers,
                                                                   DescriptorChain& chain) {
  constexpr unsigned kLast = kTaken - 1;
  const std::uint32_t id = DirectPath::get<std::uint16_t>(
      first + kLast * kDescriptorBytes + kPackedDescriptorId, std::memory_order_relaxed);
  if (id >= size_ || !put<kLast>(first, buffers)) [[unlikely]]
    return pop_again(chain);
  buffers.finish<kTaken, kWriteFlag>();
  set_ring_bytes(chain, bytes_of(kTaken));
  sign(chain, id | kWriteFlag << 16);
  available_at_ += bytes_of(kTaken);
  return PopStatus::kChain;
}

[[gnu::noinline]] PopStatus PackedRing::pop_slowly(DescriptorChain& chain) {
  if (error_ != VirtqueueError::kNone) return forget(chain, PopStatus::kError);
  if (!is_taking()) return PopStatus::kEmpty;
  prepare_quick_path();
  const PopStatus status = on_path([&](auto path) { return pop_on(path, chain); });
  find_quick_end();
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
  const std::uint64_t offset = available_at_;
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
  const std::uint32_t room = position_of(ring_bytes_ - bytes_in_use());
  if (room == 0) return VirtqueueError::kRingOverrun;
  ChainWriter writer(chain);
  std::uint32_t index = position_of(available_at_);
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
  set_ring_bytes(chain, bytes_of(descriptors));
  const std::uint32_t write_flag = chain.writable_bytes() != 0 ? kDescriptorWrite : 0;
  sign(chain, id | write_flag << 16);
  take_turn(chain);
  advance_available(bytes_of(descriptors));
  return VirtqueueError::kNone;
}

void PackedRing::find_quick_end() {
  constexpr std::uint32_t kQuickBytes = bytes_of(QuickChain::kMost);
  const std::uint32_t end = is_lap_ahead() ? used_at_ : ring_bytes_;
  quick_end_ = end > kQuickBytes ? end - kQuickBytes : 0;
}

void PackedRing::advance_available(std::uint32_t bytes) {
  available_at_ += bytes;
  if (available_at_ < ring_bytes_) return;
  available_at_ -= ring_bytes_;
  available_turn_ ^= kTurns;
}

void PackedRing::advance_used(std::uint32_t bytes) {
  used_at_ += bytes;
  if (used_at_ < ring_bytes_) return;
  used_at_ -= ring_bytes_;
  used_flags_ ^= kTurns << 16;
  unsignalled_ = std::min(unsignalled_, ring_bytes_);  // a lap is as good as several
  find_quick_end();
}

template <typename Path>
bool PackedRing::publish_on(Path path, std::uint16_t at, std::uint64_t word) {
  return path.store(RingPart::kDescriptors, used_offset(at), word, std::memory_order_release) ||
         unreachable();
}

// The length comes first, then in one word the flags, which tell of it, and the ID. The long
// way has what ends a lap, and a ring of which the device has all.
VirtqueueError PackedRing::push(const DescriptorChain& chain, std::uint32_t written) {
  const std::uint32_t bytes = ring_bytes_of(chain);
  const std::uint32_t at = used_at_;
  // In the lap before what lies behind it is in use, up to the end.
  const bool is_out = bytes <= available_at_ - at;
  if (!memory_.is_quick() || !is_ours_alone(chain) || !is_out || at + bytes >= ring_bytes_)
      [[unlikely]]
    return push_slowly(chain, written);
  const DirectPath path(memory_);
  std::byte* const used = path.host(RingPart::kDescriptors) + at;
  path.put(used + kDescriptorLength, written, std::memory_order_relaxed);
  path.put(used + kDescriptorRest, name_of(chain) | used_flags_, std::memory_order_release);
  unsignalled_ += bytes;
  used_at_ = at + bytes;
  if (!path.are_marked(RingPart::kDescriptors, at, 1)) [[unlikely]]
    return mark_used(at);
  return VirtqueueError::kNone;
}

[[gnu::noinline]] VirtqueueError PackedRing::mark_used(std::uint64_t at) const {
  DirectPath(memory_).mark(RingPart::kDescriptors, at, kDescriptorBytes);
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
  stage_word(position_of(used_at_), used_word(name_of(chain) | used_flags_, written));
  staged_ += ring_bytes_of(chain);
  advance_used(ring_bytes_of(chain));
  return error_;
}

void PackedRing::stage_in_order() {
  for (Completion it; order_.next(it);) {
    if (!run_.last.whole) end_run();
    if (!run_.open) {
      run_ = {.open = true, .at = position_of(used_at_), .last = {}};
      run_flags_ = used_flags_;
    }
    run_.last = it;
    staged_ += it.ring_bytes;
    advance_used(it.ring_bytes);
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
  const std::uint16_t staged = position_of(staged_);
  if (staged <= position(next)) return static_cast<std::uint16_t>(next - staged);
  return static_cast<std::uint16_t>((next ^ kWrap) + size_ - staged);
}

bool PackedRing::wants_interrupt() {
  if (unsignalled_ == 0) return false;
  full_barrier();  // as in the split form
  const auto passed = static_cast<std::uint32_t>(std::exchange(unsignalled_, 0) / kDescriptorBytes);
  std::uint32_t wish = 0;
  const bool loaded = on_path(
      [&](auto path) { return path.load(RingPart::kDriver, 0, wish, std::memory_order_relaxed); });
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
  if (!is_taking()) return;
  on_path([&](auto path) {
    const std::uint32_t wish = std::uint32_t{kEventsDisable} << 16;
    if (!path.store(RingPart::kDevice, 0, wish, std::memory_order_relaxed)) unreachable();
  });
}

bool PackedRing::resume_notifications() {
  if (!is_taking()) return false;
  const std::uint32_t wish = has(kFeatureRingEventIdx)
                                 ? std::uint32_t{kEventsDescriptor} << 16 | state().next_available
                                 : std::uint32_t{kEventsEnable} << 16;
  std::uint32_t first = 0;
  const bool told = on_path([&](auto path) {
    return path.store(RingPart::kDevice, 0, wish, std::memory_order_seq_cst) &&
           path.load(RingPart::kDescriptors, available_at_ + kDescriptorRest, first,
                     std::memory_order_seq_cst);
  });
  return told ? is_available(first) : unreachable();
}

}  // namespace vm_device::internal
