#include "vm_engine/internal/handler_epochs.h"

#include <sched.h>

#include <array>
#include <mutex>

namespace vm_engine::internal {
namespace {

struct alignas(64) StayCount {
  std::atomic<std::uint64_t> stays{0};
};

// Stays of an even and of an odd epoch. An epoch begins when none of the one before the
// last is left, so that two counts do.
constinit std::array<StayCount, 2> counts{};
constinit std::atomic<std::uint64_t> current_epoch{0};
std::mutex waiting_mutex;

std::atomic<std::uint64_t>& stays_of(std::uint64_t epoch) { return counts[epoch % 2].stays; }

}  // namespace

// The epoch is looked at again once the stay is counted: where it has advanced, whoever
// waits may have looked at the count before.
HandlerStay::HandlerStay() {
  for (;;) {
    epoch_ = current_epoch.load();
    stays_of(epoch_).fetch_add(1);
    if (current_epoch.load() == epoch_) return;
    stays_of(epoch_).fetch_sub(1);
  }
}

HandlerStay::~HandlerStay() { stays_of(epoch_).fetch_sub(1); }

void wait_for_handlers() {
  const std::lock_guard lock(waiting_mutex);
  const std::uint64_t ended = current_epoch.fetch_add(1);
  while (stays_of(ended).load() != 0) sched_yield();
}

void lock_handler_waits_for_fork() { waiting_mutex.lock(); }
void unlock_handler_waits_after_fork() { waiting_mutex.unlock(); }

void forget_other_handlers() {
  for (StayCount& count : counts) count.stays.store(0);
}

}  // namespace vm_engine::internal
