// Encodings to operations: RV64GC, Zba, Zbb, Zicbom, Zicboz, the privileged instructions, and
// the bulk copies in custom-0.
#ifndef VMRUN_DECODE_H_
#define VMRUN_DECODE_H_

#include <cstdint>

#include "tools/vmrun/decoded_op.h"

namespace vmrun {

// Bytes of the instruction that begins with this halfword: 2 or 4. Longer formats
// count as 4; they decode as illegal.
constexpr unsigned instruction_bytes(std::uint16_t first_half) {
  return (first_half & 3) == 3 ? 4 : 2;
}

// What is reserved, or belongs to an extension that this hart lacks, is kIllegal.
// Source:  RISC-V Unprivileged ISA 20191213, chapter 24 (instruction listings).
DecodedOp decode(std::uint32_t raw);

// The groups of decode(): the major opcodes of F and D; Zba and Zbb, where the operation
// is none of I and M.
DecodedOp decode_float(std::uint32_t raw);
Op bit_manipulation_op(std::uint32_t raw);

// Bulk copies: the major opcode custom-0. docs/vmrun.md has the tables.
DecodedOp decode_bulk(std::uint32_t raw);

// Source:  the same, chapter 16 (the C extension), tables 16.5 to 16.7.
DecodedOp decode_compressed(std::uint16_t raw);

}  // namespace vmrun

#endif  // VMRUN_DECODE_H_
