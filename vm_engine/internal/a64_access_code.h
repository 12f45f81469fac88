// Loads and stores of one register on AArch64, and how any access finds host memory.
#ifndef VM_ENGINE_INTERNAL_A64_ACCESS_CODE_H_
#define VM_ENGINE_INTERNAL_A64_ACCESS_CODE_H_

#include <cstdint>

#include "vm_engine/internal/a64_emission.h"

namespace vm_engine::internal::aarch64 {

// What the code must not take for scratch: the operands, and the registers that every
// request needs.
RegSet taken_by(const EmitConfig& config, RegSet operands);

// Nine instructions (eight for one byte) that look `gva` up in the soft TLB: `addend`, a
// scratch register, plus gva is then the host's address of a range of `bytes` that lies in
// one page of plain memory; all else goes to `miss`.
//   entry = table + (gva >> 7 & mask); entry->comparator == (gva + bytes - 1 & ~0xfff)
// Needs:  bytes is 1 to 4096.
struct A64Probe {
  Reg gva;
  std::uint64_t bytes = 0;
  std::uint8_t side = 0;  // VME_SIDE_*: the comparator and the mmu mode
  Reg comparator, tag, addend;
};
void probe(A64Emission& emission, const A64Probe& probe, const asmjit::Label& miss);

// kFastmem: goes to `outside` where `gva` may be above the arena, and is.
void check_arena(A64Emission& emission, Reg gva, RegSet taken, const asmjit::Label& outside);

void write_load(A64Emission& emission, AccessRequest request);
void write_store(A64Emission& emission, AccessRequest request);

}  // namespace vm_engine::internal::aarch64

#endif  // VM_ENGINE_INTERNAL_A64_ACCESS_CODE_H_
