#include "vm_engine/internal/handler_epochs.h"

#include <pthread.h>
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

// A child process has the counts of threads that it does not have.
void forget_other_threads() {
  for (StayCount& count : counts) count.stays.store(0);
}

void lock_before_fork() { waiting_mutex.lock(); }
void unlock_after_fork() { waiting_mutex.unlock(); }
void unlock_in_child() {
  forget_other_threads();
  waiting_mutex.unlock();
}

// Before the first wait, which is before there is anything that a handler stays for.
void watch_forks() {
  static const int registered =
      pthread_atfork(lock_before_fork, unlock_after_fork, unlock_in_child);
  static_cast<void>(registered);
}

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
  watch_forks();
  const std::lock_guard lock(waiting_mutex);
  const std::uint64_t ended = current_epoch.fetch_add(1);
  while (stays_of(ended).load() != 0) sched_yield();
}

}  // namespace vm_engine::internal
