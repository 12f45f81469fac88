// What the handler of host_fault.cc leaves for the code that it sends to a landing pad.
#ifndef VM_MEM_INTERNAL_FAULT_RECORD_H_
#define VM_MEM_INTERNAL_FAULT_RECORD_H_

#include <cstdint>

#include "vm_mem/host_fault.h"

namespace vm_mem::internal {

struct FaultRecord {
  std::uintptr_t address = 0;  // the first byte that was not accessible; 0: not known
};

// Initial-exec: a handler must not meet an allocation at a variable's first use.
extern thread_local constinit FaultRecord latest_fault [[gnu::tls_model("initial-exec")]];
extern thread_local constinit bool thread_is_prepared [[gnu::tls_model("initial-exec")]];

inline void prepare_this_thread() {
  if (!thread_is_prepared) [[unlikely]]
    prepare_thread_for_host_faults();
}

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_FAULT_RECORD_H_
