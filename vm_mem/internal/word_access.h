// Typed access: 1, 2, 4 or 8 bytes as one atomic operation on host memory where they
// are naturally aligned. Values travel in the low bits of 64; `cause` is what writes are
// reported as to who watches.
#ifndef VM_MEM_INTERNAL_WORD_ACCESS_H_
#define VM_MEM_INTERNAL_WORD_ACCESS_H_

#include <atomic>
#include <cstdint>

#include "vm_mem/access.h"
#include "vm_mem/memory_map.h"
#include "vm_mem/typed_access.h"
#include "vm_mem/write_cause.h"

namespace vm_mem::internal {

AccessResult load_word(const MemoryMap& map, GuestAddress from, unsigned bytes, std::uint64_t& bits,
                       std::memory_order order);
AccessResult store_word(const MemoryMap& map, GuestAddress to, unsigned bytes, std::uint64_t bits,
                        std::memory_order order, WriteCause cause);

// Read-modify-writes are sequentially consistent: at least what any order asks for.
AccessResult modify_word(const MemoryMap& map, GuestAddress at, unsigned bytes,
                         WordOperation operation, std::uint64_t operand, std::uint64_t& previous,
                         WriteCause cause);
// `expected` becomes the value that was found.
AccessResult compare_exchange_word(const MemoryMap& map, GuestAddress at, unsigned bytes,
                                   std::uint64_t& expected, std::uint64_t desired, bool& exchanged,
                                   WriteCause cause);

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_WORD_ACCESS_H_
