// Which vCPU a thread's emitted code belongs to.
#ifndef VM_ENGINE_INTERNAL_ATTACHED_THREAD_H_
#define VM_ENGINE_INTERNAL_ATTACHED_THREAD_H_

#include <atomic>

#include "vm_engine/internal/cpu.h"

namespace vm_engine::internal {

// Of this thread; null where there is none.
//
// Memory:  async-signal-safe.
Cpu* attached_cpu();

// Errors:  VME_EINVAL (attached to another thread), VME_ENOMEM.
vme_rc attach_this_thread(Cpu& cpu);
void detach_this_thread();
// Whichever that is: the vCPU is about to go.
void detach_from_its_thread(const Cpu& cpu);

// Whether an attached vCPU of `engine` says that it runs guest code which holds one of the
// addresses.
bool runs_one_of(const vme_engine& engine, std::span<const vme_site> sites);

// For fork_guard.h. With the lock held: every thread but this one is gone.
void lock_threads_for_fork();
void unlock_threads_after_fork();
void forget_other_threads();

}  // namespace vm_engine::internal

#endif  // VM_ENGINE_INTERNAL_ATTACHED_THREAD_H_
