// The fields of the 32-bit formats.
#ifndef VMRUN_DECODE_FIELDS_H_
#define VMRUN_DECODE_FIELDS_H_

#include <cstdint>

#include "tools/vmrun/decoded_op.h"

namespace vmrun {

constexpr std::uint32_t field(std::uint32_t raw, unsigned low, unsigned bits) {
  return (raw >> low) & ((1u << bits) - 1);
}
constexpr std::uint32_t funct3(std::uint32_t raw) { return field(raw, 12, 3); }
constexpr std::uint32_t funct7(std::uint32_t raw) { return field(raw, 25, 7); }
constexpr std::int32_t as_signed(std::uint32_t bits) { return static_cast<std::int32_t>(bits); }

constexpr std::int32_t imm_i(std::uint32_t raw) { return as_signed(raw) >> 20; }
constexpr std::int32_t imm_s(std::uint32_t raw) {
  return (imm_i(raw) & ~31) | as_signed(field(raw, 7, 5));
}
constexpr std::int32_t imm_b(std::uint32_t raw) {
  return (as_signed(raw) >> 31) * 4096 + as_signed(field(raw, 7, 1) << 11) +
         as_signed(field(raw, 25, 6) << 5) + as_signed(field(raw, 8, 4) << 1);
}
constexpr std::int32_t imm_u(std::uint32_t raw) { return as_signed(raw & 0xfffff000u); }
constexpr std::int32_t imm_j(std::uint32_t raw) {
  return (as_signed(raw) >> 31) * (1 << 20) + as_signed(field(raw, 12, 8) << 12) +
         as_signed(field(raw, 20, 1) << 11) + as_signed(field(raw, 21, 10) << 1);
}

// Which register fields an instruction format has.
enum Fields : unsigned { kRd = 1, kRs1 = 2, kRs2 = 4 };

inline DecodedOp make(Op op, std::uint32_t raw, unsigned fields, std::int32_t imm) {
  DecodedOp out{.op = op, .raw = raw};
  if (op == Op::kIllegal) return out;
  if ((fields & kRd) != 0) out.rd = static_cast<std::uint8_t>(field(raw, 7, 5));
  if ((fields & kRs1) != 0) out.rs1 = static_cast<std::uint8_t>(field(raw, 15, 5));
  if ((fields & kRs2) != 0) out.rs2 = static_cast<std::uint8_t>(field(raw, 20, 5));
  out.imm = imm;
  return out;
}

}  // namespace vmrun

#endif  // VMRUN_DECODE_FIELDS_H_
