// The source of host faults that is asked before all others, and before zero pages.
#ifndef VM_MEM_INTERNAL_FIRST_FAULT_SOURCE_H_
#define VM_MEM_INTERNAL_FIRST_FAULT_SOURCE_H_

#include "vm_mem/host_fault.h"

namespace vm_mem::internal {

// For memory whose pages come when they are touched: whatever instruction it is that touched
// one, and whatever else would be made of the fault, is to try again.
//
// Needs:  always the same one; it lives until the process ends.
void set_first_fault_source(HostFaultSource* source);

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_FIRST_FAULT_SOURCE_H_
