// Copies and fills on AArch64: in line, by near stubs, by calls.
#ifndef VM_ENGINE_INTERNAL_A64_COPY_CODE_H_
#define VM_ENGINE_INTERNAL_A64_COPY_CODE_H_

#include <cstdint>
#include <span>
#include <vector>

#include "vm_engine/internal/a64_emission.h"
#include "vm_engine/internal/a64_pieces.h"

namespace vm_engine::internal::aarch64 {

// `free`: the scratch registers that are no operands.
Plan plan_copy(const EmitConfig& config, std::uint64_t bytes, RegSet free);
Plan plan_fill(const EmitConfig& config, std::uint64_t bytes, RegSet free);
Plan plan_register_copy(const EmitConfig& config);
// The offset of the stub for a size of form kStub.
std::uint32_t stub_for(const Stubs& stubs, CopySize size);

void write_copy(A64Emission& emission, const CopyRequest& request);
void write_fill(A64Emission& emission, const FillRequest& request);
// Fills in all of `stubs` but its base.
void write_stubs(A64Emission& emission, Stubs& stubs);

// The calls of memcpy_raw, memset_raw, vme_copy, vme_fill.
A64Call copy_call(const EmitConfig& config, const CopyRequest& request);
A64Call fill_call(const EmitConfig& config, const FillRequest& request);
// For a call of a guest's helper that goes on where x5 bytes of `bytes` are done: adjusts
// x1, the address, and sets x3, the bytes.
void skip_done(A64Code& code, std::uint64_t bytes);

// What write_copy and write_fill have in common.
bool reaches_guest(const EmitConfig& config);
void write_nothing(A64Emission& emission);
void write_call(A64Emission& emission, const A64Call& call);
// A scratch register with the host pointer of [gva, gva + bytes); what the soft TLB or the
// arena does not have goes to `miss`.
Reg find_place(A64Emission& emission, Reg gva, std::uint8_t side, std::uint64_t bytes,
               RegSet& taken, const asmjit::Label& miss);
// The stores of `pieces`, each with a landing pad of its own where it may fault: one pad for
// all could not tell what is stored, and may be no longer read where the ranges overlap.
std::vector<asmjit::Label> store_pieces(A64Emission& emission, std::span<const A64Piece> pieces,
                                        Reg to);
// The pads: `done` gets what was stored before, and the code behind goes on.
void write_pads(A64Emission& emission, std::span<const asmjit::Label> pads,
                std::span<const A64Piece> pieces, Reg done);

}  // namespace vm_engine::internal::aarch64

#endif  // VM_ENGINE_INTERNAL_A64_COPY_CODE_H_
