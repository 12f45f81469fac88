// Sends faults of emitted code to their landing pads.
#ifndef VM_ENGINE_INTERNAL_FAULT_GUARD_H_
#define VM_ENGINE_INTERNAL_FAULT_GUARD_H_

namespace vm_engine::internal {

// Makes the guard a source of vm_mem's handler. False: there are too many sources, or there
// is no memory.
bool start_fault_guard();

}  // namespace vm_engine::internal

#endif  // VM_ENGINE_INTERNAL_FAULT_GUARD_H_
