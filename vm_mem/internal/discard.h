// Gives pages of the guest's memory back to the host.
#ifndef VM_MEM_INTERNAL_DISCARD_H_
#define VM_MEM_INTERNAL_DISCARD_H_

#include "absl/status/status.h"
#include "vm_mem/memory_map.h"

namespace vm_mem::internal {

// As MemoryManager::discard(). Needs:  no change of the map meanwhile.
absl::Status discard(const MemoryMap& map, GuestRange range);

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_DISCARD_H_
