// Reads bytes as one step of a MapWorld: a change of the map, several at once, an access,
// or pages that the host takes away.
#ifndef VM_TESTS_VM_MEM_FUZZ_MAP_STEPS_H_
#define VM_TESTS_VM_MEM_FUZZ_MAP_STEPS_H_

#include "tests/vm_mem/fuzz/byte_source.h"
#include "tests/vm_mem/fuzz/map_world.h"

namespace vm_mem {

void take_map_step(MapWorld& world, ByteSource& bytes);

}  // namespace vm_mem

#endif  // VM_TESTS_VM_MEM_FUZZ_MAP_STEPS_H_
