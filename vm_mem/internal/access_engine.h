// The one engine behind every bulk access to guest memory: MemoryManager,
// MemoryReader and, through them, DMA and the CPU engines. The contract of each
// function is that of the MemoryManager member of its name, on the given map. `cause` is
// what writes are reported as to who watches.
#ifndef VM_MEM_INTERNAL_ACCESS_ENGINE_H_
#define VM_MEM_INTERNAL_ACCESS_ENGINE_H_

#include <cstddef>
#include <cstdint>
#include <span>

#include "vm_mem/access.h"
#include "vm_mem/memory_map.h"
#include "vm_mem/write_cause.h"

namespace vm_mem::internal {

AccessResult read_memory(const MemoryMap& map, GuestAddress from, std::span<std::byte> to);
AccessResult write_memory(const MemoryMap& map, GuestAddress to, std::span<const std::byte> from,
                          WriteCause cause);
AccessResult fill_memory(const MemoryMap& map, GuestAddress to, std::byte value,
                         std::uint64_t bytes, WriteCause cause);
AccessResult copy_memory(const MemoryMap& map, GuestAddress to, GuestAddress from,
                         std::uint64_t bytes, WriteCause cause);
AccessResult compare_memory(const MemoryMap& map, GuestAddress a, GuestAddress b,
                            std::uint64_t bytes, int& order);

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_ACCESS_ENGINE_H_
