// Bytes to instructions, so that most of them do something.
#ifndef TESTS_VMRUN_FUZZ_INSTRUCTION_H_
#define TESTS_VMRUN_FUZZ_INSTRUCTION_H_

#include <cstdint>
#include <vector>

#include "tests/vm_mem/fuzz/byte_source.h"

namespace vmrun {

// Registers that hold addresses at first.
inline constexpr unsigned kDataRegister = 2;
inline constexpr unsigned kAliasRegister = 8;  // of the code
inline constexpr unsigned kEntryRegister = 9;  // of an entry in the page table

// One instruction, or some that belong together, as halfwords.
std::vector<std::uint16_t> fuzz_instruction(vm_mem::ByteSource& source);

}  // namespace vmrun

#endif  // TESTS_VMRUN_FUZZ_INSTRUCTION_H_
