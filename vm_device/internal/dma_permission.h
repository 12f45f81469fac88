// Whether memory lets a device do what it wants, before it does it.
#ifndef VM_DEVICE_INTERNAL_DMA_PERMISSION_H_
#define VM_DEVICE_INTERNAL_DMA_PERMISSION_H_

#include <cstdint>

#include "vm_device/dma_segment.h"
#include "vm_mem/access.h"
#include "vm_mem/memory_map.h"

namespace vm_device::internal {

// Of a section, or of a hole where it is null. A device may refuse later.
vm_mem::AccessFault refusal_of(const vm_mem::MapSection* section, DmaAccess access);

// `done` is how much of the range is permitted, up to what stops it.
vm_mem::AccessResult permitted(const vm_mem::MemoryMap& map, vm_mem::GuestAddress at,
                               std::uint64_t bytes, DmaAccess access);

}  // namespace vm_device::internal

#endif  // VM_DEVICE_INTERNAL_DMA_PERMISSION_H_
