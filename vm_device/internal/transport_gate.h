// Lets one thread at a time into a device, and keeps the work that waits for it: what
// host threads have woken, and notifications that were put off.
#ifndef VM_DEVICE_INTERNAL_TRANSPORT_GATE_H_
#define VM_DEVICE_INTERNAL_TRANSPORT_GATE_H_

#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <optional>
#include <vector>

#include "vm_device/internal/transaction.h"

namespace vm_device::internal {

// No wake is lost and no waker waits: one lock decides whether somebody is inside, who then
// takes what wakers leave before leaving, or whether the waker itself is let in.
class TransportGate {
 public:
  // What a host thread has woken, and the devices that led to it.
  struct Woken {
    std::size_t what = 0;  // a queue, or config()
    TransactionChain chain;
  };

  explicit TransportGate(std::size_t queues) : woken_(queues + 1), deferred_(queues) {}

  std::size_t config() const { return deferred_.size(); }

  // Waits until nobody is inside.
  void enter();
  [[nodiscard]] bool try_enter();
  // Leaves `woken` behind. True: nobody was inside, and the caller is now, to serve it.
  [[nodiscard]] bool wake(const Woken& woken);
  // Takes what was left behind, each in its turn; nothing: the caller is outside.
  std::optional<Woken> take_or_leave();
  // Leaves at once. What was left behind waits for who comes next.
  void abandon();

  // --- By the thread that is inside.

  // What leads to the work twice, leads to it in both ways.
  void defer(std::size_t queue, const TransactionChain& chain);
  std::optional<TransactionChain> take_deferred(std::size_t queue);
  // Of the queues that have some, each in its turn.
  std::optional<Woken> take_next_deferred();
  bool has_deferred() const { return deferred_count_ > 0; }
  bool is_deferred(std::size_t queue) const { return deferred_[queue].has_value(); }
  // Whether it was left behind and not taken yet.
  bool is_woken(std::size_t what);

 private:
  std::mutex mutex_;  // of what follows, up to deferred_; held for a few instructions
  std::condition_variable left_;
  bool is_occupied_ = false;
  std::size_t waiting_ = 0;  // of woken_, how many
  std::size_t turn_ = 0;     // where to look first
  std::vector<std::optional<TransactionChain>> woken_;

  std::vector<std::optional<TransactionChain>> deferred_;
  std::size_t deferred_count_ = 0;
  std::size_t deferred_turn_ = 0;
};

// A stay of a thread that is inside already. Where a device throws, the gate is free again.
class GateStay {
 public:
  explicit GateStay(TransportGate& gate) : gate_(gate) {}
  GateStay(const GateStay&) = delete;
  GateStay& operator=(const GateStay&) = delete;
  ~GateStay() {
    if (is_inside_) gate_.abandon();
  }

  std::optional<TransportGate::Woken> take_or_leave() {
    auto woken = gate_.take_or_leave();
    is_inside_ = woken.has_value();
    return woken;
  }

 private:
  TransportGate& gate_;
  bool is_inside_ = true;
};

}  // namespace vm_device::internal

#endif  // VM_DEVICE_INTERNAL_TRANSPORT_GATE_H_
