// A child process has one thread, and every lock that any thread of its parent held. Those
// of the fault guard and of the arenas are free in it, and what belonged to other threads is
// forgotten, so that the child goes on with the vCPUs that it attaches.
#ifndef VM_ENGINE_INTERNAL_FORK_GUARD_H_
#define VM_ENGINE_INTERNAL_FORK_GUARD_H_

namespace vm_engine::internal {

// From here on; further calls do nothing. False: the host has no memory for it.
bool watch_forks();

}  // namespace vm_engine::internal

#endif  // VM_ENGINE_INTERNAL_FORK_GUARD_H_
