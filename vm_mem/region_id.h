// Names the regions of a MemoryManager.
#ifndef VM_MEM_REGION_ID_H_
#define VM_MEM_REGION_ID_H_

#include <cstdint>

namespace vm_mem {

// Given by the manager, never reused.
enum class RegionId : std::uint64_t {};

// The guest physical address space itself, which every other region lies in.
inline constexpr RegionId kRootContainer{0};

}  // namespace vm_mem

#endif  // VM_MEM_REGION_ID_H_
