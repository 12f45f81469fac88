#include "vm_device/internal/packed_ring.h"

namespace vm_device::internal {
namespace {

// The ring, of which what is read is noted.
template <typename Path>
class NotingPath {
 public:
  NotingPath(Path path, PackedJournal& journal) : path_(path), journal_(journal) {}
  template <typename Word>
  bool load(RingPart part, std::uint64_t offset, Word& value, std::memory_order order) const {
    return path_.load(part, offset, value, order);
  }
  bool load_buffer_at(std::uint64_t offset, Descriptor& descriptor) const {
    return path_.load_buffer_at(offset, descriptor) && note(descriptor);
  }
  bool load_descriptor(std::uint64_t index, Descriptor& descriptor) const {
    return path_.load_descriptor(index, descriptor) && note(descriptor);
  }

 private:
  bool note(const Descriptor& descriptor) const {
    journal_.add(descriptor);
    return true;
  }

  Path path_;
  PackedJournal& journal_;
};

// In place of the ring: a request that is taken again, as it was noted.
class NotedPath {
 public:
  explicit NotedPath(PackedJournal& journal) : journal_(journal) {}
  bool load_descriptor(std::uint64_t, Descriptor& descriptor) const {
    return journal_.next_again(descriptor);
  }

 private:
  PackedJournal& journal_;
};

}  // namespace

VirtqueueError PackedRing::enable(const VirtqueueConfig& config) {
  if (config.size > kPackedWrap) return fail(VirtqueueError::kBadSize);
  const auto at = config.start.value_or(VirtqueueState{kPackedWrap, kPackedWrap});
  if ((at.next_used & kPackedPosition) >= config.size || at.next_available != at.next_used) {
    return fail(VirtqueueError::kBadStart);
  }
  const RingRanges ranges{{{config.descriptor_table, config.size * kDescriptorBytes,
                            kDescriptorBytes, DmaAccess::kReadWrite},
                           {config.driver_area, kEventBytes, kEventBytes, DmaAccess::kRead},
                           {config.device_area, kEventBytes, kEventBytes, DmaAccess::kWrite}}};
  ring_bytes_ = bytes_of(config.size);
  available_at_ = bytes_of(at.next_available & kPackedPosition);
  used_at_ = bytes_of(at.next_used & kPackedPosition);
  available_turn_ = (at.next_available & kPackedWrap) != 0 ? kPackedAvailable : kPackedUsed;
  used_flags_ = (at.next_used & kPackedWrap) != 0 ? kTurns << 16 : 0;
  find_quick_end();
  staged_ = 0;
  has_first_ = false;
  run_ = {};
  journal_ = config.packed_journal;
  noted_.clear();
  if (journal_ != nullptr) noted_.reserve(config.size);
  return start(config, ranges);
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
  if (!is_taking() && !(running_ && has_again())) return PopStatus::kEmpty;
  waits_ = false;
  if (journal_ != nullptr) [[unlikely]]
    return pop_noted(chain);
  prepare_quick_path();
  const PopStatus status = on_path([&](auto path) { return pop_on(path, chain); });
  find_quick_end();
  return status == PopStatus::kError || waits_ ? forget(chain, status) : status;
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
  return outcome(take(path, first, chain));
}

// Those of the journal first.
[[gnu::noinline]] PopStatus PackedRing::pop_noted(DescriptorChain& chain) {
  PopStatus status = PopStatus::kChain;
  if (journal_->begin_again()) {
    const NotedPath path(*journal_);
    Descriptor first{};
    path.load_descriptor(0, first);
    status = outcome(take(path, first, chain));
  } else {
    journal_->begin();
    status = on_path([&](auto path) { return pop_on(NotingPath(path, *journal_), chain); });
  }
  if (status == PopStatus::kChain) set_note(chain, journal_->take());
  return status == PopStatus::kError || waits_ ? forget(chain, status) : status;
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
  const VirtqueueError held = hold(chain);
  if (held != VirtqueueError::kNone || waits_) return held;  // outcome() sees that it waits
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

}  // namespace vm_device::internal
