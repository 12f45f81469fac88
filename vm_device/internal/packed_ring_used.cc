// How a packed ring gives requests back, and which notifications it sends and wants.

#include <algorithm>
#include <utility>

#include "vm_device/internal/packed_ring.h"

namespace vm_device::internal {
namespace {

constexpr std::uint32_t position(std::uint16_t counted) { return counted & kPackedPosition; }

// From one to the other, both of them in a ring of `size`; more than that where `to` is behind.
constexpr std::uint32_t distance(std::uint16_t from, std::uint16_t to, std::uint32_t size) {
  const std::uint32_t wrapped = ((from ^ to) & kPackedWrap) != 0 ? size : 0;
  return position(to) + wrapped - position(from);
}

}  // namespace

void PackedRing::advance_used(std::uint32_t bytes) {
  used_at_ += bytes;
  if (used_at_ < ring_bytes_) return;
  used_at_ -= ring_bytes_;
  used_flags_ ^= kTurns << 16;
  unsignalled_ = std::min(unsignalled_, ring_bytes_);  // a lap is as good as several
  find_quick_end();
}

template <typename Path>
[[gnu::always_inline]] inline bool PackedRing::publish_on(Path path, std::uint16_t at,
                                                          std::uint64_t word) {
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
  release(chain);
  if (in_order_) {
    put_in_order(chain, written);
    stage_in_order();
    return error_;
  }
  if (journal_ != nullptr) [[unlikely]]
    return stage_noted(chain, written);
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

[[gnu::noinline]] VirtqueueError PackedRing::stage_noted(const DescriptorChain& chain,
                                                         std::uint32_t written) {
  stage_noted({.written = written,
               .name = name_of(chain),
               .ring_bytes = ring_bytes_of(chain),
               .note = note_of(chain)});
  return error_;
}

void PackedRing::stage_noted(const Completion& request) {
  const std::uint16_t at = position_of(used_at_);
  const std::uint64_t word = used_word(request.name | used_flags_, request.written);
  staged_ += request.ring_bytes;
  advance_used(request.ring_bytes);
  noted_.push_back({.at = at, .end = state().next_used, .note = request.note, .word = word});
}

[[gnu::noinline]] VirtqueueError PackedRing::publish_noted() {
  unsignalled_ += std::exchange(staged_, 0);
  for (const Noted& it : noted_) {
    journal_->giving_back(it.note, it.end);
    if (!on_path([&](auto path) { return publish_on(path, it.at, it.word); })) {
      used_at_ = bytes_of(it.at);  // nor are those behind it seen
      used_flags_ = static_cast<std::uint32_t>(it.word >> 32) & kTurns << 16;
      break;
    }
    journal_->given_back(it.note);
  }
  noted_.clear();
  return error_;
}

VirtqueueError PackedRing::publish() {
  if (!enabled_ || staged_ == 0) return error_;
  if (journal_ != nullptr) [[unlikely]]
    return publish_noted();
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
  return static_cast<std::uint16_t>((next ^ kPackedWrap) + size_ - staged);
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
  return told ? is_available(first) && !waits_ : unreachable();
}

}  // namespace vm_device::internal
