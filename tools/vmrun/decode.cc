// The 32-bit formats. Each major opcode has one small function; what funct3 selects
// is a table.

#include "tools/vmrun/decode.h"

#include <array>

#include "tools/vmrun/decode_fields.h"

namespace vmrun {
namespace {

using OpTable = std::array<Op, 8>;  // by funct3
constexpr Op kNone = Op::kIllegal;

constexpr OpTable kBranches{Op::kBeq, Op::kBne, kNone,     kNone,
                            Op::kBlt, Op::kBge, Op::kBltu, Op::kBgeu};
constexpr OpTable kLoads{Op::kLb, Op::kLh, Op::kLw, Op::kLd, Op::kLbu, Op::kLhu, Op::kLwu, kNone};
constexpr OpTable kStores{Op::kSb, Op::kSh, Op::kSw, Op::kSd, kNone, kNone, kNone, kNone};
constexpr OpTable kImmediates{Op::kAddi, Op::kSlli, Op::kSlti, Op::kSltiu,
                              Op::kXori, Op::kSrli, Op::kOri,  Op::kAndi};
constexpr OpTable kRegisters{Op::kAdd, Op::kSll, Op::kSlt, Op::kSltu,
                             Op::kXor, Op::kSrl, Op::kOr,  Op::kAnd};
constexpr OpTable kMulDiv{Op::kMul, Op::kMulh, Op::kMulhsu, Op::kMulhu,
                          Op::kDiv, Op::kDivu, Op::kRem,    Op::kRemu};
constexpr OpTable kRegistersW{Op::kAddw, Op::kSllw, kNone, kNone, kNone, Op::kSrlw, kNone, kNone};
constexpr OpTable kMulDivW{Op::kMulw, kNone,      kNone,     kNone,
                           Op::kDivw, Op::kDivuw, Op::kRemw, Op::kRemuw};
constexpr OpTable kCsr{kNone, Op::kCsrrw,  Op::kCsrrs,  Op::kCsrrc,
                       kNone, Op::kCsrrwi, Op::kCsrrsi, Op::kCsrrci};

DecodedOp decode_immediate(std::uint32_t raw) {
  Op op = kImmediates[funct3(raw)];
  if (op != Op::kSlli && op != Op::kSrli) return make(op, raw, kRd | kRs1, imm_i(raw));
  const std::uint32_t funct6 = field(raw, 26, 6);
  if (op == Op::kSrli && funct6 == 0x10) {
    op = Op::kSrai;
  } else if (funct6 != 0) {
    op = bit_manipulation_op(raw);
  }
  return make(op, raw, kRd | kRs1, as_signed(field(raw, 20, 6)));
}

DecodedOp decode_immediate_w(std::uint32_t raw) {
  const std::uint32_t f3 = funct3(raw);
  if (f3 == 0) return make(Op::kAddiw, raw, kRd | kRs1, imm_i(raw));
  Op op = kNone;
  if (f3 == 1 && funct7(raw) == 0) op = Op::kSlliw;
  if (f3 == 5 && funct7(raw) == 0) op = Op::kSrliw;
  if (f3 == 5 && funct7(raw) == 0x20) op = Op::kSraiw;
  if (op == kNone) op = bit_manipulation_op(raw);
  return make(op, raw, kRd | kRs1, as_signed(field(raw, 20, op == Op::kSlliUw ? 6 : 5)));
}

DecodedOp decode_register(std::uint32_t raw) {
  const std::uint32_t f3 = funct3(raw);
  Op op = kNone;
  if (funct7(raw) == 0) op = kRegisters[f3];
  if (funct7(raw) == 1) op = kMulDiv[f3];
  if (funct7(raw) == 0x20 && f3 == 0) op = Op::kSub;
  if (funct7(raw) == 0x20 && f3 == 5) op = Op::kSra;
  if (op == kNone) op = bit_manipulation_op(raw);
  return make(op, raw, kRd | kRs1 | kRs2, 0);
}

DecodedOp decode_register_w(std::uint32_t raw) {
  const std::uint32_t f3 = funct3(raw);
  Op op = kNone;
  if (funct7(raw) == 0) op = kRegistersW[f3];
  if (funct7(raw) == 1) op = kMulDivW[f3];
  if (funct7(raw) == 0x20 && f3 == 0) op = Op::kSubw;
  if (funct7(raw) == 0x20 && f3 == 5) op = Op::kSraw;
  if (op == kNone) op = bit_manipulation_op(raw);
  return make(op, raw, kRd | kRs1 | kRs2, 0);
}

// The word form; the doubleword forms follow in the same order.
Op amo_word(std::uint32_t raw) {
  switch (field(raw, 27, 5)) {
    case 0x02: return field(raw, 20, 5) == 0 ? Op::kLrW : kNone;
    case 0x03: return Op::kScW;
    case 0x01: return Op::kAmoswapW;
    case 0x00: return Op::kAmoaddW;
    case 0x04: return Op::kAmoxorW;
    case 0x0c: return Op::kAmoandW;
    case 0x08: return Op::kAmoorW;
    case 0x10: return Op::kAmominW;
    case 0x14: return Op::kAmomaxW;
    case 0x18: return Op::kAmominuW;
    case 0x1c: return Op::kAmomaxuW;
    default: return kNone;
  }
}

DecodedOp decode_amo(std::uint32_t raw) {
  const std::uint32_t f3 = funct3(raw);
  Op op = f3 == 2 || f3 == 3 ? amo_word(raw) : kNone;
  if (op != kNone && f3 == 3) {
    op = static_cast<Op>(static_cast<int>(op) + static_cast<int>(Op::kLrD) -
                         static_cast<int>(Op::kLrW));
  }
  return make(op, raw, kRd | kRs1 | kRs2, 0);
}

DecodedOp decode_system(std::uint32_t raw) {
  if (funct3(raw) != 0) {
    return make(kCsr[funct3(raw)], raw, kRd | kRs1, as_signed(field(raw, 20, 12)));
  }
  if ((raw & 0xfe007fffu) == 0x12000073) return make(Op::kSfenceVma, raw, kRs1 | kRs2, 0);
  switch (raw) {
    case 0x00000073: return make(Op::kEcall, raw, 0, 0);
    case 0x00100073: return make(Op::kEbreak, raw, 0, 0);
    case 0x10200073: return make(Op::kSret, raw, 0, 0);
    case 0x30200073: return make(Op::kMret, raw, 0, 0);
    case 0x10500073: return make(Op::kWfi, raw, 0, 0);
    default: return make(kNone, raw, 0, 0);
  }
}

Op cache_op(std::uint32_t raw) {
  switch (imm_i(raw)) {
    case 0: return Op::kCboInval;
    case 1: return Op::kCboClean;
    case 2: return Op::kCboFlush;
    case 4: return Op::kCboZero;
    default: return kNone;
  }
}

// The other fields of FENCE and FENCE.I are reserved for finer fences; the manual
// has implementations ignore them.
DecodedOp decode_fence(std::uint32_t raw) {
  if (funct3(raw) == 0) return make(Op::kFence, raw, 0, 0);
  if (funct3(raw) == 2 && field(raw, 7, 5) == 0) return make(cache_op(raw), raw, kRs1, 0);
  return make(funct3(raw) == 1 ? Op::kFenceI : kNone, raw, 0, 0);
}

}  // namespace

DecodedOp decode(std::uint32_t raw) {
  switch (raw & 0x7f) {
    case 0x37: return make(Op::kLui, raw, kRd, imm_u(raw));
    case 0x17: return make(Op::kAuipc, raw, kRd, imm_u(raw));
    case 0x6f: return make(Op::kJal, raw, kRd, imm_j(raw));
    case 0x67: return make(funct3(raw) == 0 ? Op::kJalr : kNone, raw, kRd | kRs1, imm_i(raw));
    case 0x63: return make(kBranches[funct3(raw)], raw, kRs1 | kRs2, imm_b(raw));
    case 0x03: return make(kLoads[funct3(raw)], raw, kRd | kRs1, imm_i(raw));
    case 0x23: return make(kStores[funct3(raw)], raw, kRs1 | kRs2, imm_s(raw));
    case 0x13: return decode_immediate(raw);
    case 0x1b: return decode_immediate_w(raw);
    case 0x33: return decode_register(raw);
    case 0x3b: return decode_register_w(raw);
    case 0x2f: return decode_amo(raw);
    case 0x73: return decode_system(raw);
    case 0x0f: return decode_fence(raw);
    case 0x0b: return decode_bulk(raw);
    default: return decode_float(raw);
  }
}

}  // namespace vmrun
