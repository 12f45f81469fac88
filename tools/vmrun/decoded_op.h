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
  // Zifencei, Zicsr, privileged
  kFenceI, kCsrrw, kCsrrs, kCsrrc, kCsrrwi, kCsrrsi, kCsrrci,
  kMret, kSret, kWfi, kSfenceVma,
};
// clang-format on
inline constexpr int kOpCount = static_cast<int>(Op::kSfenceVma) + 1;

// Fields that an operation does not have are 0. `imm` is sign-extended; it is the
// shift amount of a shift and the CSR number of a CSR access, whose rs1 is the
// 5-bit constant in the immediate forms. `raw` is the encoding, 16 or 32 bits:
// what mtval reports for an illegal instruction.
struct DecodedOp {
  Op op = Op::kIllegal;
  std::uint8_t rd = 0;
  std::uint8_t rs1 = 0;
  std::uint8_t rs2 = 0;
  std::uint8_t bytes = 4;  // 2 or 4
  std::int32_t imm = 0;
  std::uint32_t raw = 0;

  friend constexpr bool operator==(const DecodedOp&, const DecodedOp&) = default;
};

}  // namespace vmrun

#endif  // VMRUN_DECODED_OP_H_
