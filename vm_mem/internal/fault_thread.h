// Whether a thread may meet faults of the host.
#ifndef VM_MEM_INTERNAL_FAULT_THREAD_H_
#define VM_MEM_INTERNAL_FAULT_THREAD_H_

#include "vm_mem/host_fault.h"

namespace vm_mem::internal {

// Initial-exec: one load, whatever the library is part of.
extern thread_local constinit bool thread_is_prepared [[gnu::tls_model("initial-exec")]];

inline void prepare_this_thread() {
  if (!thread_is_prepared) [[unlikely]]
    prepare_thread_for_host_faults();
}

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_FAULT_THREAD_H_
