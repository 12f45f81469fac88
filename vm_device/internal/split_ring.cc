#include "vm_device/internal/split_ring.h"

#include <utility>

namespace vm_device::internal {
namespace {

constexpr std::uint64_t event_offset(std::uint64_t size, std::uint64_t entry_bytes) {
  return kRingEntries + size * entry_bytes;
}

}  // namespace

VirtqueueError SplitRing::enable(const VirtqueueConfig& config) {
  const std::uint64_t size = config.size;
  if ((size & (size - 1)) != 0) return fail(VirtqueueError::kBadSize);
  const VirtqueueState start_at = config.start.value_or(VirtqueueState{});
  const auto ahead = static_cast<std::uint16_t>(start_at.next_available - start_at.next_used);
  if (ahead != config.taken_before.size() || ahead > size) return fail(VirtqueueError::kBadStart);
  const std::uint64_t event = (config.features & kFeatureRingEventIdx) != 0 ? 2 : 0;
  const RingRanges ranges{
      {{config.descriptor_table, size * kDescriptorBytes, kDescriptorBytes, DmaAccess::kRead},
       {config.driver_area, event_offset(size, kAvailableEntryBytes) + event, 2, DmaAccess::kRead},
       {config.device_area, event_offset(size, kUsedEntryBytes) + event, 4, DmaAccess::kWrite}}};
  available_ = next_available_ = start_at.next_available;
  next_used_ = start_at.next_used;
  staged_ = 0;
  slot_mask_ = static_cast<std::uint32_t>(size - 1);
  run_ = {};
  journal_ = config.journal;
  taken_before_.assign(config.taken_before.rbegin(), config.taken_before.rend());
  return start(config, ranges);
}

// Goes on for as long as descriptors are ordinary. `it` is the next one.
template <unsigned kTaken, unsigned kWriteFlag>
[[gnu::always_inline]] inline PopStatus SplitRing::walk(std::uint16_t head, Descriptor it,
                                                        QuickChain buffers,
                                                        DescriptorChain& chain) {
  if (((it.rest ^ kWriteFlag) & (kDescriptorWrite | kDescriptorIndirect)) != 0) {
    if constexpr (kWriteFlag != 0) return pop_again(chain);
    buffers.begin_writable<kTaken>();
    return walk<kTaken, kDescriptorWrite>(head, it, buffers, chain);
  }
  if (!buffers.try_put<kTaken>(it.address, it.bytes)) [[unlikely]]
    return pop_again(chain);
  constexpr unsigned kNext = kTaken + 1;
  if ((it.rest & kDescriptorNext) == 0) {
    return accept<kNext, kWriteFlag>(head, buffers, chain);
  }
  const std::uint32_t next = it.next();
  if constexpr (kNext == QuickChain::kMost) {
    buffers.suspend<kWriteFlag>();
    return walk_on(head, next, chain);
  } else {
    if (next >= size_) [[unlikely]]
      return pop_again(chain);
    DirectPath(memory_).load_descriptor(next, it);
    return walk<kNext, kWriteFlag>(head, it, buffers, chain);
  }
}

// The rest of a request of more descriptors than walk() has places for.
[[gnu::noinline]] PopStatus SplitRing::walk_on(std::uint16_t head, std::uint32_t next,
                                               DescriptorChain& chain) {
  const DirectPath path(memory_);
  const std::uint32_t size = size_;
  ChainWriter writer(chain, ChainWriter::From::kSuspended);
  for (std::uint32_t left = size - QuickChain::kMost; left != 0 && next < size; --left) {
    Descriptor it;
    path.load_descriptor(next, it);
    if (!writer.try_append(it.address, it.bytes, it.flags())) break;
    if ((it.flags() & kDescriptorNext) == 0) {
      writer.finish();
      sign(chain, head);
      ++next_available_;
      return PopStatus::kChain;
    }
    next = it.next();
  }
  return pop_again(chain);
}

// The short way, for a request of ordinary descriptors in memory that is plain. Whatever else
// it meets it leaves, having changed nothing, to the long way, which begins anew. So here
// is no error, and no call but the last.
PopStatus SplitRing::pop(DescriptorChain& chain) {
  const QuickChain buffers(chain);
  if (!memory_.is_quick() || !buffers.has_room()) [[unlikely]]
    return pop_slowly(chain);
  const DirectPath path(memory_);
  const std::uint16_t at = next_available_;
  if (at == available_) {
    std::uint16_t available = 0;
    path.load(RingPart::kDriver, kRingIndex, available, std::memory_order_acquire);
    if (available == at) return PopStatus::kEmpty;
    if (!may_be_available(available)) [[unlikely]]
      return pop_slowly(chain);
    available_ = available;
  }
  const std::uint64_t slot = at & slot_mask_;
  std::uint16_t head = 0;
  path.load(RingPart::kDriver, kRingEntries + slot * kAvailableEntryBytes, head,
            std::memory_order_relaxed);
  if (head >= size_) [[unlikely]]
    return pop_slowly(chain);
  Descriptor it;
  path.load_descriptor(head, it);
  return walk<0, 0>(head, it, buffers, chain);
}

template <unsigned kTaken, unsigned kWriteFlag>
[[gnu::always_inline]] inline PopStatus SplitRing::accept(std::uint16_t head, QuickChain buffers,
                                                          DescriptorChain& chain) {
  buffers.finish<kTaken, kWriteFlag>();
  sign(chain, head);
  ++next_available_;
  return PopStatus::kChain;
}

[[gnu::noinline]] PopStatus SplitRing::pop_slowly(DescriptorChain& chain) {
  if (error_ != VirtqueueError::kNone) return forget(chain, PopStatus::kError);
  if (!is_taking() && !(running_ && !taken_before_.empty())) return PopStatus::kEmpty;
  waits_ = false;
  if (journal_ == nullptr) prepare_quick_path();
  const PopStatus status = on_path([&](auto path) { return pop_on(path, chain); });
  return status == PopStatus::kError ? forget(chain, status) : status;
}

// What the short way has left in the chain is half of a request.
[[gnu::noinline]] PopStatus SplitRing::pop_again(DescriptorChain& chain) {
  forget(chain, PopStatus::kEmpty);
  return pop_slowly(chain);
}

template <typename Path>
PopStatus SplitRing::pop_on(Path path, DescriptorChain& chain) {
  if (!taken_before_.empty()) {
    const PopStatus status = pop_head(path, taken_before_.back(), chain);
    if (status != PopStatus::kEmpty) taken_before_.pop_back();
    return status;
  }
  if (next_available_ == available_) {
    const PopStatus found = look(path);
    if (found != PopStatus::kChain) return found;
  }
  const std::uint64_t slot = next_available_ & slot_mask_;
  std::uint16_t head = 0;
  if (!path.load(RingPart::kDriver, kRingEntries + slot * kAvailableEntryBytes, head,
                 std::memory_order_relaxed)) {
    return stop(VirtqueueError::kRingUnreachable);
  }
  const PopStatus status = pop_head(path, head, chain);
  if (status == PopStatus::kChain) ++next_available_;
  return status;
}

template <typename Path>
PopStatus SplitRing::pop_head(Path path, std::uint16_t head, DescriptorChain& chain) {
  VirtqueueError error = take(path, head, chain);
  if (error == VirtqueueError::kNone) error = hold(chain);
  if (waits_) [[unlikely]]
    return forget(chain, PopStatus::kEmpty);
  if (error != VirtqueueError::kNone) [[unlikely]]
    return stop(error);
  if (journal_ != nullptr) journal_->take(head);
  sign(chain, head);
  take_turn(chain);
  return PopStatus::kChain;
}

template <typename Path>
PopStatus SplitRing::look(Path path) {
  std::uint16_t available = 0;
  if (!path.load(RingPart::kDriver, kRingIndex, available, std::memory_order_acquire)) {
    return stop(VirtqueueError::kRingUnreachable);
  }
  if (available == next_available_) return PopStatus::kEmpty;
  if (!may_be_available(available)) return stop(VirtqueueError::kAvailableJump);
  available_ = available;
  return PopStatus::kChain;
}

// Every step takes a descriptor, and a chain has no descriptor twice: more steps than
// descriptors are a loop.
template <typename Path>
VirtqueueError SplitRing::take(Path path, std::uint16_t head, DescriptorChain& chain) {
  const std::uint32_t size = size_;
  if (head >= size) return VirtqueueError::kHeadOutOfRange;
  ChainWriter writer(chain);
  std::uint32_t index = head;
  for (std::uint32_t left = size; left != 0; --left) {
    Descriptor it;
    if (!path.load_descriptor(index, it)) return VirtqueueError::kRingUnreachable;
    const unsigned flags = it.flags();
    if ((flags & kDescriptorIndirect) != 0) [[unlikely]] {
      writer.suspend();
      return take_indirect(it, chain);
    }
    const VirtqueueError error = writer.append(it.address, it.bytes, flags);
    if (error != VirtqueueError::kNone) [[unlikely]]
      return error;
    if ((flags & kDescriptorNext) == 0) {
      writer.finish();
      return VirtqueueError::kNone;
    }
    index = it.next();
    if (index >= size) return VirtqueueError::kNextOutOfRange;
  }
  return VirtqueueError::kLoop;
}

VirtqueueError SplitRing::take_indirect(Descriptor reference, DescriptorChain& chain) {
  if ((reference.flags() & kDescriptorNext) != 0) return VirtqueueError::kIndirectWithNext;
  std::uint32_t count = 0;
  if (const auto error = read_table(reference, count); error != VirtqueueError::kNone) return error;
  ChainWriter writer(chain, ChainWriter::From::kSuspended);
  std::uint32_t index = 0;
  for (std::uint32_t left = count; left != 0; --left) {
    const Descriptor it = table(index);
    if ((it.flags() & kDescriptorIndirect) != 0) return VirtqueueError::kIndirectNested;
    const VirtqueueError error = writer.append(it.address, it.bytes, it.flags());
    if (error != VirtqueueError::kNone) return error;
    if ((it.flags() & kDescriptorNext) == 0) {
      writer.finish();
      return VirtqueueError::kNone;
    }
    index = it.next();
    if (index >= count) return VirtqueueError::kNextOutOfRange;
  }
  return VirtqueueError::kLoop;
}

template <typename Path>
bool SplitRing::write_entry(Path path, std::uint16_t at, std::uint32_t id, std::uint32_t written) {
  const std::uint64_t slot = at & slot_mask_;
  const std::uint64_t entry = kRingEntries + slot * kUsedEntryBytes;
  return (path.store(RingPart::kDevice, entry, id, std::memory_order_relaxed) &&
          path.store(RingPart::kDevice, entry + 4, written, std::memory_order_relaxed)) ||
         unreachable();
}

template <typename Path>
void SplitRing::publish_on(Path path) {
  const std::uint32_t staged = std::exchange(staged_, 0);
  unsignalled_ += staged;
  if (!path.store(RingPart::kDevice, kRingIndex, next_used_, std::memory_order_release)) {
    next_used_ = static_cast<std::uint16_t>(next_used_ - staged);  // nobody sees them
    fail(VirtqueueError::kRingUnreachable);
  } else if (journal_ != nullptr) {
    journal_->publish(next_used_);
  }
}

VirtqueueError SplitRing::push(const DescriptorChain& chain, std::uint32_t written) {
  const std::uint16_t at = next_used_;
  if (!memory_.is_quick() || !is_ours_alone(chain) || at == next_available_) [[unlikely]]
    return push_slowly(chain, written);
  const DirectPath path(memory_);
  const std::uint64_t entry = kRingEntries + (at & slot_mask_) * kUsedEntryBytes;
  std::byte* const used = path.host(RingPart::kDevice);
  path.put(used + entry, name_of(chain), std::memory_order_relaxed);
  path.put(used + entry + 4, written, std::memory_order_relaxed);
  const auto next = static_cast<std::uint16_t>(at + 1);
  next_used_ = next;
  ++unsignalled_;
  path.put(used + kRingIndex, next, std::memory_order_release);
  if (!path.are_marked_with_first(RingPart::kDevice, entry, kUsedEntryBytes)) [[unlikely]]
    return mark_used(entry);
  return VirtqueueError::kNone;
}

[[gnu::noinline]] VirtqueueError SplitRing::mark_used(std::uint64_t entry) const {
  const DirectPath path(memory_);
  path.mark(RingPart::kDevice, kRingIndex, 2);
  path.mark(RingPart::kDevice, entry, kUsedEntryBytes);
  return VirtqueueError::kNone;
}

[[gnu::noinline]] VirtqueueError SplitRing::push_slowly(const DescriptorChain& chain,
                                                        std::uint32_t written) {
  const VirtqueueError error = stage(chain, written);
  return error == VirtqueueError::kNone ? publish() : error;
}

VirtqueueError SplitRing::stage(const DescriptorChain& chain, std::uint32_t written) {
  if (!can_take_back(chain)) return error_;
  release(chain);
  if (in_order_) {
    put_in_order(chain, written);
    stage_in_order();
    return error_;
  }
  alone_ = kNoEpoch;
  on_path([&](auto path) {
    if (!write_entry(path, next_used_, chain.head(), written)) return;
    if (journal_ != nullptr) journal_->stage(chain.head());
    ++next_used_;
    ++staged_;
  });
  return error_;
}

void SplitRing::stage_in_order() {
  for (Completion it; order_.next(it); ++next_used_, ++staged_) {
    if (journal_ != nullptr) journal_->stage(static_cast<std::uint16_t>(it.name));
    if (!run_.last.whole && !end_run()) return;
    if (!run_.open) run_ = {.open = true, .at = next_used_, .last = {}};
    run_.last = it;
  }
}

// Where the entry cannot be written the driver is not told of any after it.
bool SplitRing::end_run() {
  if (!run_.open) return true;
  run_.open = false;
  const bool written = on_path(
      [&](auto path) { return write_entry(path, run_.at, run_.last.name, run_.last.written); });
  if (!written) next_used_ = static_cast<std::uint16_t>(next_used_ - std::exchange(staged_, 0));
  return written;
}

VirtqueueError SplitRing::publish() {
  if (!enabled_ || staged_ == 0) return error_;
  if (end_run()) on_path([&](auto path) { publish_on(path); });
  if (!in_order_) alone_ = epoch_;
  return error_;
}

// The driver has a barrier between its wish and its look at the index, so that one of the two
// sees the other.
bool SplitRing::wants_interrupt() {
  if (unsignalled_ == 0) return false;
  full_barrier();  // the index comes first
  const std::uint32_t published = std::exchange(unsignalled_, 0);
  const bool by_event = has(kFeatureRingEventIdx);
  std::uint16_t wish = 0;
  const bool loaded = on_path([&](auto path) {
    return path.load(RingPart::kDriver,
                     by_event ? event_offset(size_, kAvailableEntryBytes) : std::uint64_t{0}, wish,
                     std::memory_order_relaxed);
  });
  if (!loaded) return unreachable();
  if (!by_event) return (wish & kAvailableNoInterrupt) == 0;
  // Whether the entry that the driver named is one of those published.
  const std::uint32_t told = next_used_ - staged_;
  return static_cast<std::uint16_t>(told - wish - 1) < published;
}

// With event indices there is nothing to write: the one named last has passed.
void SplitRing::suppress_notifications() {
  if (!is_taking() || has(kFeatureRingEventIdx)) return;
  on_path([&](auto path) {
    if (!path.store(RingPart::kDevice, 0, kUsedNoNotify, std::memory_order_relaxed)) unreachable();
  });
}

// Sequentially consistent for the same reason, the other way round.
bool SplitRing::resume_notifications() {
  if (!is_taking()) return false;
  const bool by_event = has(kFeatureRingEventIdx);
  const std::uint64_t offset = by_event ? event_offset(size_, kUsedEntryBytes) : 0;
  const std::uint16_t wish = by_event ? next_available_ : std::uint16_t{0};
  std::uint16_t available = 0;
  const bool told = on_path([&](auto path) {
    return path.store(RingPart::kDevice, offset, wish, std::memory_order_seq_cst) &&
           path.load(RingPart::kDriver, kRingIndex, available, std::memory_order_seq_cst);
  });
  return told ? available != next_available_ && !waits_ : unreachable();
}

}  // namespace vm_device::internal
