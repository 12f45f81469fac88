// Instructions that are a function of two registers, or of one and a constant, and cannot fail.
#ifndef TOOLS_VMRUN_REGISTER_FUNCTION_H_
#define TOOLS_VMRUN_REGISTER_FUNCTION_H_

#include <cstdint>

#include "tools/vmrun/execute.h"
#include "tools/vmrun/hart.h"

namespace vmrun {

using Word = std::uint64_t;

constexpr std::int64_t sign(Word value) { return static_cast<std::int64_t>(value); }
constexpr std::uint32_t low32(Word value) { return static_cast<std::uint32_t>(value); }
constexpr Word extend(std::uint32_t low) {
  return static_cast<Word>(std::int64_t{static_cast<std::int32_t>(low)});
}

using RegisterFunction = Word (*)(Word, Word);

template <RegisterFunction kFunction>
Flow registers(Hart& hart, const BlockOp& op) {
  auto& x = hart.state().x;
  x[op.rd] = kFunction(x[op.rs1], x[op.rs2]);
  return Flow::kNext;
}

template <RegisterFunction kFunction>
Flow immediate(Hart& hart, const BlockOp& op) {
  auto& x = hart.state().x;
  x[op.rd] = kFunction(x[op.rs1], static_cast<Word>(std::int64_t{op.imm}));
  return Flow::kNext;
}

}  // namespace vmrun

#endif  // TOOLS_VMRUN_REGISTER_FUNCTION_H_
