// One RISC-V instruction, taken apart: what the decoder gives and the executor
// takes. Compressed instructions come out as the operation that they stand for.
#ifndef VMRUN_DECODED_OP_H_
#define VMRUN_DECODED_OP_H_

#include <cstdint>

namespace vmrun {

// clang-format off
enum class Op : std::uint8_t {
  kIllegal,
  // RV64I
  kLui, kAuipc, kJal, kJalr,
  kBeq, kBne, kBlt, kBge, kBltu, kBgeu,
  kLb, kLh, kLw, kLd, kLbu, kLhu, kLwu,
  kSb, kSh, kSw, kSd,
  kAddi, kSlti, kSltiu, kXori, kOri, kAndi, kSlli, kSrli, kSrai,
  kAddiw, kSlliw, kSrliw, kSraiw,
  kAdd, kSub, kSll, kSlt, kSltu, kXor, kSrl, kSra, kOr, kAnd,
  kAddw, kSubw, kSllw, kSrlw, kSraw,
  kFence, kEcall, kEbreak,
  // M
  kMul, kMulh, kMulhsu, kMulhu, kDiv, kDivu, kRem, kRemu,
  kMulw, kDivw, kDivuw, kRemw, kRemuw,
  // A
  kLrW, kScW, kAmoswapW, kAmoaddW, kAmoxorW, kAmoandW, kAmoorW,
  kAmominW, kAmomaxW, kAmominuW, kAmomaxuW,
  kLrD, kScD, kAmoswapD, kAmoaddD, kAmoxorD, kAmoandD, kAmoorD,
  kAmominD, kAmomaxD, kAmominuD, kAmomaxuD,
  // F and D: first what writes a floating-point register, the doubles after the singles in
  // the same order
  kFlw, kFmaddS, kFmsubS, kFnmsubS, kFnmaddS,
  kFaddS, kFsubS, kFmulS, kFdivS, kFsqrtS, kFsgnjS, kFsgnjnS, kFsgnjxS, kFminS, kFmaxS,
  kFcvtSW, kFcvtSWu, kFcvtSL, kFcvtSLu, kFcvtSD, kFmvWX,
  kFld, kFmaddD, kFmsubD, kFnmsubD, kFnmaddD,
  kFaddD, kFsubD, kFmulD, kFdivD, kFsqrtD, kFsgnjD, kFsgnjnD, kFsgnjxD, kFminD, kFmaxD,
  kFcvtDW, kFcvtDWu, kFcvtDL, kFcvtDLu, kFcvtDS, kFmvDX,
  kFsw, kFcvtWS, kFcvtWuS, kFcvtLS, kFcvtLuS, kFeqS, kFltS, kFleS, kFclassS, kFmvXW,
  kFsd, kFcvtWD, kFcvtWuD, kFcvtLD, kFcvtLuD, kFeqD, kFltD, kFleD, kFclassD, kFmvXD,
  // Zba
  kAddUw, kSh1add, kSh2add, kSh3add, kSh1addUw, kSh2addUw, kSh3addUw, kSlliUw,
  // Zbb
  kAndn, kOrn, kXnor, kMin, kMinu, kMax, kMaxu, kRol, kRor, kRolw, kRorw, kRori, kRoriw,
  kClz, kCtz, kCpop, kClzw, kCtzw, kCpopw, kSextB, kSextH, kZextH, kOrcB, kRev8,
  // Zicbom, Zicboz
  kCboInval, kCboClean, kCboFlush, kCboZero,
  // Zifencei, Zicsr, privileged
  kFenceI, kCsrrw, kCsrrs, kCsrrc, kCsrrwi, kCsrrsi, kCsrrci,
  kMret, kSret, kWfi, kSfenceVma,
  // Bulk copies (docs/vmrun.md)
  kVmCpy, kVmCpyf, kVmCpyb, kVmSet,
};
// clang-format on
// Whether rd names a floating-point register.
constexpr bool writes_float(Op op) { return op >= Op::kFlw && op <= Op::kFmvDX; }

inline constexpr int kOpCount = static_cast<int>(Op::kVmSet) + 1;

inline constexpr std::uint8_t kDynamicRounding = 7;

// Fields that an operation does not have are 0. `imm` is sign-extended; it is the
// shift amount of a shift and the CSR number of a CSR access, whose rs1 is the
// 5-bit constant in the immediate forms. `rm` is the rounding mode of a floating-point
// operation that has one: 0 to 4, or kDynamicRounding. `raw` is the encoding, 16 or 32 bits:
// what mtval reports for an illegal instruction.
struct DecodedOp {
  Op op = Op::kIllegal;
  std::uint8_t rd = 0;
  std::uint8_t rs1 = 0;
  std::uint8_t rs2 = 0;
  std::uint8_t rs3 = 0;
  std::uint8_t rm = 0;
  std::uint8_t bytes = 4;  // 2 or 4
  std::int32_t imm = 0;
  std::uint32_t raw = 0;

  friend constexpr bool operator==(const DecodedOp&, const DecodedOp&) = default;
};

}  // namespace vmrun

#endif  // VMRUN_DECODED_OP_H_
