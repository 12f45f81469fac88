#include "vm_engine/internal/fork_guard.h"

#include <pthread.h>

#include "vm_engine/internal/arena_views.h"
#include "vm_engine/internal/attached_thread.h"
#include "vm_engine/internal/code_registry.h"
#include "vm_engine/internal/handler_epochs.h"

namespace vm_engine::internal {
namespace {

// In the order in which they are taken inside each other.
void lock_all() {
  lock_code_for_fork();
  lock_handler_waits_for_fork();
  lock_threads_for_fork();
  ArenaViews::lock_all_for_fork();
}

void unlock_all() {
  ArenaViews::unlock_all_after_fork();
  unlock_threads_after_fork();
  unlock_handler_waits_after_fork();
  unlock_code_after_fork();
}

void unlock_in_child() {
  forget_other_threads();
  forget_other_handlers();
  unlock_all();
}

}  // namespace

bool watch_forks() {
  static const bool watched = pthread_atfork(lock_all, unlock_all, unlock_in_child) == 0;
  return watched;
}

}  // namespace vm_engine::internal
