// Zba and Zbb share their opcodes with I and M.
// Source: RISC-V Bit-Manipulation ISA-extensions 1.0.0.

#include "tools/vmrun/decode.h"
#include "tools/vmrun/decode_fields.h"

namespace vmrun {
namespace {

constexpr Op kNone = Op::kIllegal;

// funct7 and funct3 as one number, to switch on.
constexpr std::uint32_t key(std::uint32_t funct7_value, std::uint32_t funct3_value) {
  return funct7_value << 4 | funct3_value;
}

Op register_op(std::uint32_t raw) {
  switch (key(funct7(raw), funct3(raw))) {
    case key(0x10, 2): return Op::kSh1add;
    case key(0x10, 4): return Op::kSh2add;
    case key(0x10, 6): return Op::kSh3add;
    case key(0x20, 4): return Op::kXnor;
    case key(0x20, 6): return Op::kOrn;
    case key(0x20, 7): return Op::kAndn;
    case key(0x05, 4): return Op::kMin;
    case key(0x05, 5): return Op::kMinu;
    case key(0x05, 6): return Op::kMax;
    case key(0x05, 7): return Op::kMaxu;
    case key(0x30, 1): return Op::kRol;
    case key(0x30, 5): return Op::kRor;
    default: return kNone;
  }
}

Op register_op_w(std::uint32_t raw) {
  switch (key(funct7(raw), funct3(raw))) {
    case key(0x04, 0): return Op::kAddUw;
    case key(0x04, 4): return field(raw, 20, 5) == 0 ? Op::kZextH : kNone;
    case key(0x10, 2): return Op::kSh1addUw;
    case key(0x10, 4): return Op::kSh2addUw;
    case key(0x10, 6): return Op::kSh3addUw;
    case key(0x30, 1): return Op::kRolw;
    case key(0x30, 5): return Op::kRorw;
    default: return kNone;
  }
}

Op unary_op(std::uint32_t raw) {
  switch (field(raw, 20, 12)) {
    case 0x600: return Op::kClz;
    case 0x601: return Op::kCtz;
    case 0x602: return Op::kCpop;
    case 0x604: return Op::kSextB;
    case 0x605: return Op::kSextH;
    default: return kNone;
  }
}

Op unary_op_w(std::uint32_t raw) {
  switch (field(raw, 20, 12)) {
    case 0x600: return Op::kClzw;
    case 0x601: return Op::kCtzw;
    case 0x602: return Op::kCpopw;
    default: return field(raw, 26, 6) == 2 ? Op::kSlliUw : kNone;
  }
}

Op right_op(std::uint32_t raw) {
  if (field(raw, 20, 12) == 0x287) return Op::kOrcB;
  if (field(raw, 20, 12) == 0x6b8) return Op::kRev8;
  return field(raw, 26, 6) == 0x18 ? Op::kRori : kNone;
}

}  // namespace

Op bit_manipulation_op(std::uint32_t raw) {
  const bool right = funct3(raw) == 5;
  switch (raw & 0x7f) {
    case 0x13: return right ? right_op(raw) : unary_op(raw);
    case 0x1b:
      if (right) return funct7(raw) == 0x30 ? Op::kRoriw : kNone;
      return funct3(raw) == 1 ? unary_op_w(raw) : kNone;
    case 0x33: return register_op(raw);
    case 0x3b: return register_op_w(raw);
    default: return kNone;
  }
}

}  // namespace vmrun
