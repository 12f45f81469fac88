// AArch64 instructions as asmjit assembles them, with the few forms that it leaves to its
// caller: constants of any width, loads and stores of a width known at run time.
#ifndef VM_ENGINE_INTERNAL_A64_CODE_H_
#define VM_ENGINE_INTERNAL_A64_CODE_H_

#include <asmjit/arm/a64assembler.h>

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "vm_engine/emit_config.h"

namespace vm_engine::internal::aarch64 {

asmjit::a64::GpX x_reg(Reg reg);
asmjit::a64::GpW w_reg(Reg reg);
// The low `bytes` of v<id>: 1, 2, 4, 8 or 16.
asmjit::a64::Vec vector_reg(unsigned id, unsigned bytes);
// The lowest register of the set, which loses it.
unsigned take_lowest(std::uint32_t& set);

using RegMove = std::pair<Reg, Reg>;  // destination, source

struct A64Code {
  A64Code();
  A64Code(const A64Code&) = delete;
  A64Code& operator=(const A64Code&) = delete;

  std::size_t bytes() const { return assembler.offset(); }

  void load_constant(Reg to, std::uint64_t value);
  void add_to_sp(std::int32_t bytes);
  // All moves at once. `spare` is neither a destination nor one of the sources that are.
  void move_together(std::vector<RegMove> moves, Reg spare);
  // op.bytes between a register and memory, in the host's byte order.
  void load(Reg to, const asmjit::a64::Mem& from, MemOp op);
  void store(Reg from, const asmjit::a64::Mem& to, MemOp op);
  // What a load of op leaves to do: byte order, and the sign where that is big-endian.
  void finish_load(Reg reg, MemOp op);
  void extend(Reg to, Reg from, MemOp op);
  void swap_bytes(Reg to, Reg from, unsigned bytes);

  class FirstError : public asmjit::ErrorHandler {
   public:
    void handleError(asmjit::Error told, const char*, asmjit::BaseEmitter*) override {
      if (value == asmjit::kErrorOk) value = told;
    }
    asmjit::Error value = asmjit::kErrorOk;
  };

  FirstError error;
  asmjit::CodeHolder holder;
  asmjit::a64::Assembler assembler;
};

}  // namespace vm_engine::internal::aarch64

#endif  // VM_ENGINE_INTERNAL_A64_CODE_H_
