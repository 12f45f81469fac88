#include "vm_device/internal/transport_gate.h"

#include <utility>

namespace vm_device::internal {

void TransportGate::enter() {
  std::unique_lock lock(mutex_);
  left_.wait(lock, [this] { return !is_occupied_; });
  is_occupied_ = true;
}

bool TransportGate::try_enter() {
  const std::lock_guard lock(mutex_);
  return !std::exchange(is_occupied_, true);
}

bool TransportGate::wake(const Woken& woken) {
  const std::lock_guard lock(mutex_);
  std::optional<TransactionChain>& slot = woken_[woken.what];
  if (slot.has_value()) {
    slot->add(woken.chain);
  } else {
    slot = woken.chain;
    ++waiting_;
  }
  return !std::exchange(is_occupied_, true);
}

std::optional<TransportGate::Woken> TransportGate::take_or_leave() {
  {
    const std::lock_guard lock(mutex_);
    while (waiting_ > 0) {
      const std::size_t what = turn_;
      turn_ = (turn_ + 1) % woken_.size();
      if (!woken_[what].has_value()) continue;
      --waiting_;
      return Woken{what, *std::exchange(woken_[what], std::nullopt)};
    }
    is_occupied_ = false;
  }
  left_.notify_one();
  return std::nullopt;
}

bool TransportGate::is_woken(std::size_t what) {
  const std::lock_guard lock(mutex_);
  return woken_[what].has_value();
}

void TransportGate::abandon() {
  {
    const std::lock_guard lock(mutex_);
    is_occupied_ = false;
  }
  left_.notify_one();
}

void TransportGate::defer(std::size_t queue, const TransactionChain& chain) {
  std::optional<TransactionChain>& slot = deferred_[queue];
  if (!slot.has_value()) {
    slot.emplace();
    ++deferred_count_;
  }
  slot->add(chain);
}

std::optional<TransactionChain> TransportGate::take_deferred(std::size_t queue) {
  if (deferred_[queue].has_value()) --deferred_count_;
  return std::exchange(deferred_[queue], std::nullopt);
}

std::optional<TransportGate::Woken> TransportGate::take_next_deferred() {
  while (has_deferred()) {
    const std::size_t queue = deferred_turn_;
    deferred_turn_ = (queue + 1) % deferred_.size();
    if (const auto chain = take_deferred(queue)) return Woken{queue, *chain};
  }
  return std::nullopt;
}

}  // namespace vm_device::internal
