#include "vm_device/internal/packed_ring.h"

#include <algorithm>
#include <utility>

namespace vm_device::internal {
namespace {

// A request that is taken again, as it was noted; in place of the ring.
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
  if (!is_taking()) return PopStatus::kEmpty;
  if (journal_ == nullptr) prepare_quick_path();
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
  if (journal_ != nullptr && journal_->begin_again()) return pop_noted(chain);
  Descriptor first{};
  const std::uint64_t offset = available_at_;
  if (!path.load(RingPart::kDescriptors, offset + kDescriptorRest, first.rest,
                 std::memory_order_acquire)) {
    return stop(VirtqueueError::kRingUnreachable);
  }
  if (!is_available(first.rest)) return PopStatus::kEmpty;
  if (!path.load_buffer_at(offset, first)) return stop(VirtqueueError::kRingUnreachable);
  if (journal_ != nullptr) journal_->begin();
  const VirtqueueError error = take(path, first, chain);
  return error == VirtqueueError::kNone ? PopStatus::kChain : stop(error);
}

PopStatus PackedRing::pop_noted(DescriptorChain& chain) {
  const NotedPath path(*journal_);
  Descriptor first{};
  path.load_descriptor(0, first);
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
    if (journal_ != nullptr) journal_->add(it);
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
  if (journal_ != nullptr) set_note(chain, journal_->take());
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
  if (journal_ != nullptr) {
    stage_noted({.written = written,
                 .name = name_of(chain),
                 .ring_bytes = ring_bytes_of(chain),
                 .note = note_of(chain)});
    return error_;
  }
  stage_word(position_of(used_at_), used_word(name_of(chain) | used_flags_, written));
  staged_ += ring_bytes_of(chain);
  advance_used(ring_bytes_of(chain));
  return error_;
}

void PackedRing::stage_in_order() {
  for (Completion it; order_.next(it);) {
    if (journal_ != nullptr) {
      stage_noted(it);
      continue;
    }
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

void PackedRing::stage_noted(const Completion& request) {
  const std::uint16_t at = position_of(used_at_);
  const std::uint64_t word = used_word(request.name | used_flags_, request.written);
  staged_ += request.ring_bytes;
  advance_used(request.ring_bytes);
  noted_.push_back({.at = at, .end = state().next_used, .note = request.note, .word = word});
}

void PackedRing::publish_noted() {
  unsignalled_ += std::exchange(staged_, 0);
  for (const Noted& it : noted_) {
    journal_->giving_back(it.note, it.end);
    if (!on_path([&](auto path) { return publish_on(path, it.at, it.word); })) break;
    journal_->given_back(it.note);
  }
  noted_.clear();
}

VirtqueueError PackedRing::publish() {
  if (!enabled_ || staged_ == 0) return error_;
  if (journal_ != nullptr) {
    publish_noted();
    return error_;
  }
  end_run();
  unsignalled_ += std::exchange(staged_, 0);
  has_first_ = false;
  if (!in_order_) alone_ = epoch_;
  on_path([&](auto path) { publish_on(path, first_at_, first_word_); });
  return error_;
}

}  // namespace vm_device::internal
