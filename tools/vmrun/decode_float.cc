// The major opcodes of F and D. The format field selects single or double; both have the
// same operations in the same order.
// Source: RISC-V Unprivileged ISA 20191213, chapters 11, 12 and 24.

#include "tools/vmrun/decode.h"
#include "tools/vmrun/decode_fields.h"

namespace vmrun {
namespace {

constexpr Op kNone = Op::kIllegal;

constexpr std::uint32_t format(std::uint32_t raw) { return field(raw, 25, 2); }
constexpr std::uint32_t second(std::uint32_t raw) { return field(raw, 20, 5); }

constexpr Op shifted(Op op, Op from, Op to) {
  return static_cast<Op>(static_cast<int>(op) + static_cast<int>(to) - static_cast<int>(from));
}
// The operation on doubles that `single` is on singles.
constexpr Op as_double(Op single) {
  return writes_float(single) ? shifted(single, Op::kFlw, Op::kFld)
                              : shifted(single, Op::kFsw, Op::kFsd);
}
static_assert(as_double(Op::kFmaxS) == Op::kFmaxD && as_double(Op::kFmvXW) == Op::kFmvXD);
static_assert(as_double(Op::kFcvtSD) == Op::kFcvtDS);

// Operations that differ in what a field of up to three bits says, one after another.
Op one_of(Op first, std::uint32_t choice, std::uint32_t count) {
  return choice < count ? static_cast<Op>(static_cast<std::uint32_t>(first) + choice) : kNone;
}

// Whether the operation rounds, and funct3 says how.
bool has_rounding(Op single) {
  return (single >= Op::kFmaddS && single <= Op::kFsqrtS) ||
         (single >= Op::kFcvtSW && single <= Op::kFcvtSD) ||
         (single >= Op::kFcvtWS && single <= Op::kFcvtLuS);
}

Op move_or_class(std::uint32_t raw) {
  if (second(raw) != 0) return kNone;
  return funct3(raw) == 0 ? Op::kFmvXW : funct3(raw) == 1 ? Op::kFclassS : kNone;
}

Op comparison(std::uint32_t raw) {
  constexpr Op kByFunct3[] = {Op::kFleS, Op::kFltS, Op::kFeqS};
  return funct3(raw) < 3 ? kByFunct3[funct3(raw)] : kNone;
}

// As if on singles.
Op operation(std::uint32_t raw) {
  switch (field(raw, 27, 5)) {
    case 0x00: return Op::kFaddS;
    case 0x01: return Op::kFsubS;
    case 0x02: return Op::kFmulS;
    case 0x03: return Op::kFdivS;
    case 0x0b: return second(raw) == 0 ? Op::kFsqrtS : kNone;
    case 0x04: return one_of(Op::kFsgnjS, funct3(raw), 3);
    case 0x05: return one_of(Op::kFminS, funct3(raw), 2);
    // From the other format.
    case 0x08: return second(raw) == (format(raw) ^ 1) ? Op::kFcvtSD : kNone;
    case 0x14: return comparison(raw);
    case 0x18: return one_of(Op::kFcvtWS, second(raw), 4);
    case 0x1a: return one_of(Op::kFcvtSW, second(raw), 4);
    case 0x1c: return move_or_class(raw);
    case 0x1e: return second(raw) == 0 && funct3(raw) == 0 ? Op::kFmvWX : kNone;
    default: return kNone;
  }
}

// Modes 5 and 6 do not exist.
DecodedOp make_float(Op single, std::uint32_t raw, unsigned fields) {
  const std::uint32_t rm = funct3(raw);
  const bool rounds = has_rounding(single);
  if (single == kNone || format(raw) > 1 || (rounds && (rm == 5 || rm == 6))) {
    return make(kNone, raw, 0, 0);
  }
  DecodedOp out = make(format(raw) == 1 ? as_double(single) : single, raw, fields, 0);
  if (rounds) out.rm = static_cast<std::uint8_t>(rm);
  return out;
}

DecodedOp decode_fused(std::uint32_t raw) {
  const Op single = one_of(Op::kFmaddS, field(raw, 2, 2), 4);
  DecodedOp out = make_float(single, raw, kRd | kRs1 | kRs2);
  if (out.op != kNone) out.rs3 = static_cast<std::uint8_t>(field(raw, 27, 5));
  return out;
}

// Where rs2 is a part of the opcode, it is no register.
DecodedOp decode_operation(std::uint32_t raw) {
  const Op op = operation(raw);
  const bool binary = (op >= Op::kFaddS && op <= Op::kFdivS) ||
                      (op >= Op::kFsgnjS && op <= Op::kFmaxS) ||
                      (op >= Op::kFeqS && op <= Op::kFleS);
  return make_float(op, raw, binary ? kRd | kRs1 | kRs2 : kRd | kRs1);
}

// Of four or eight bytes.
Op by_width(std::uint32_t raw, Op single) {
  return funct3(raw) == 2 ? single : funct3(raw) == 3 ? as_double(single) : kNone;
}

}  // namespace

DecodedOp decode_float(std::uint32_t raw) {
  switch (raw & 0x7f) {
    case 0x07: return make(by_width(raw, Op::kFlw), raw, kRd | kRs1, imm_i(raw));
    case 0x27: return make(by_width(raw, Op::kFsw), raw, kRs1 | kRs2, imm_s(raw));
    case 0x43:
    case 0x47:
    case 0x4b:
    case 0x4f: return decode_fused(raw);
    case 0x53: return decode_operation(raw);
    default: return make(kNone, raw, 0, 0);
  }
}

}  // namespace vmrun
