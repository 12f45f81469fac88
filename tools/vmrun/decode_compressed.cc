// The 16-bit formats, each expanded into the operation that it stands for. Reserved
// encodings are illegal; hints are executed as
// the operation that they would be, on x0.

#include <cstdint>

#include "tools/vmrun/decode.h"

namespace vmrun {
namespace {

// Bits [low, low + bits) of `raw`, moved to start at bit `to`.
constexpr std::int32_t move(std::uint32_t raw, unsigned low, unsigned bits, unsigned to) {
  return static_cast<std::int32_t>(((raw >> low) & ((1u << bits) - 1)) << to);
}
constexpr std::uint8_t full_register(std::uint32_t raw, unsigned low) {
  return static_cast<std::uint8_t>((raw >> low) & 31);
}
// The three-bit fields name x8 to x15.
constexpr std::uint8_t short_register(std::uint32_t raw, unsigned low) {
  return static_cast<std::uint8_t>(8 + ((raw >> low) & 7));
}
constexpr std::int32_t sign_from(std::uint32_t raw, unsigned bit) { return -move(raw, 12, 1, bit); }

constexpr std::int32_t imm6(std::uint32_t raw) { return sign_from(raw, 5) + move(raw, 2, 5, 0); }
constexpr std::int32_t shamt6(std::uint32_t raw) {
  return move(raw, 12, 1, 5) + move(raw, 2, 5, 0);
}
constexpr std::int32_t imm_word(std::uint32_t raw) {
  return move(raw, 10, 3, 3) + move(raw, 6, 1, 2) + move(raw, 5, 1, 6);
}
constexpr std::int32_t imm_double(std::uint32_t raw) {
  return move(raw, 10, 3, 3) + move(raw, 5, 2, 6);
}
constexpr std::int32_t imm_jump(std::uint32_t raw) {
  return sign_from(raw, 11) + move(raw, 11, 1, 4) + move(raw, 9, 2, 8) + move(raw, 8, 1, 10) +
         move(raw, 7, 1, 6) + move(raw, 6, 1, 7) + move(raw, 3, 3, 1) + move(raw, 2, 1, 5);
}
constexpr std::int32_t imm_branch(std::uint32_t raw) {
  return sign_from(raw, 8) + move(raw, 10, 2, 3) + move(raw, 5, 2, 6) + move(raw, 3, 2, 1) +
         move(raw, 2, 1, 5);
}

struct Registers {
  std::uint8_t rd = 0;
  std::uint8_t rs1 = 0;
  std::uint8_t rs2 = 0;
};

DecodedOp make(Op op, std::uint32_t raw, Registers registers, std::int32_t imm) {
  return {.op = op,
          .rd = registers.rd,
          .rs1 = registers.rs1,
          .rs2 = registers.rs2,
          .bytes = 2,
          .imm = imm,
          .raw = raw};
}

DecodedOp illegal(std::uint32_t raw) { return make(Op::kIllegal, raw, {}, 0); }

DecodedOp addi4spn(std::uint32_t raw) {
  const std::int32_t imm =
      move(raw, 11, 2, 4) + move(raw, 7, 4, 6) + move(raw, 6, 1, 2) + move(raw, 5, 1, 3);
  if (imm == 0) return illegal(raw);  // the all-zero halfword among them
  return make(Op::kAddi, raw, {.rd = short_register(raw, 2), .rs1 = 2}, imm);
}

DecodedOp quadrant0(std::uint32_t raw) {
  const std::uint8_t low = short_register(raw, 2);
  const std::uint8_t base = short_register(raw, 7);
  switch (raw >> 13) {
    case 0: return addi4spn(raw);
    case 1: return make(Op::kFld, raw, {.rd = low, .rs1 = base}, imm_double(raw));
    case 2: return make(Op::kLw, raw, {.rd = low, .rs1 = base}, imm_word(raw));
    case 3: return make(Op::kLd, raw, {.rd = low, .rs1 = base}, imm_double(raw));
    case 5: return make(Op::kFsd, raw, {.rs1 = base, .rs2 = low}, imm_double(raw));
    case 6: return make(Op::kSw, raw, {.rs1 = base, .rs2 = low}, imm_word(raw));
    case 7: return make(Op::kSd, raw, {.rs1 = base, .rs2 = low}, imm_double(raw));
    default: return illegal(raw);
  }
}

DecodedOp lui_or_addi16sp(std::uint32_t raw) {
  const std::uint8_t rd = full_register(raw, 7);
  if (rd != 2) {
    const std::int32_t imm = imm6(raw) * 4096;
    return imm == 0 ? illegal(raw) : make(Op::kLui, raw, {.rd = rd}, imm);
  }
  const std::int32_t imm = sign_from(raw, 9) + move(raw, 6, 1, 4) + move(raw, 5, 1, 6) +
                           move(raw, 3, 2, 7) + move(raw, 2, 1, 5);
  return imm == 0 ? illegal(raw) : make(Op::kAddi, raw, {.rd = 2, .rs1 = 2}, imm);
}

DecodedOp register_pair(std::uint32_t raw) {
  constexpr Op kOps[8] = {Op::kSub,  Op::kXor,  Op::kOr,      Op::kAnd,
                          Op::kSubw, Op::kAddw, Op::kIllegal, Op::kIllegal};
  const std::uint8_t rd = short_register(raw, 7);
  const Op op = kOps[move(raw, 12, 1, 2) + move(raw, 5, 2, 0)];
  if (op == Op::kIllegal) return illegal(raw);
  return make(op, raw, {.rd = rd, .rs1 = rd, .rs2 = short_register(raw, 2)}, 0);
}

DecodedOp misc_alu(std::uint32_t raw) {
  const std::uint8_t rd = short_register(raw, 7);
  const Registers registers{.rd = rd, .rs1 = rd};
  switch ((raw >> 10) & 3) {
    case 0: return make(Op::kSrli, raw, registers, shamt6(raw));
    case 1: return make(Op::kSrai, raw, registers, shamt6(raw));
    case 2: return make(Op::kAndi, raw, registers, imm6(raw));
    default: return register_pair(raw);
  }
}

DecodedOp quadrant1(std::uint32_t raw) {
  const std::uint8_t rd = full_register(raw, 7);
  const std::uint8_t tested = short_register(raw, 7);
  switch (raw >> 13) {
    case 0: return make(Op::kAddi, raw, {.rd = rd, .rs1 = rd}, imm6(raw));
    case 1: return rd == 0 ? illegal(raw) : make(Op::kAddiw, raw, {.rd = rd, .rs1 = rd}, imm6(raw));
    case 2: return make(Op::kAddi, raw, {.rd = rd}, imm6(raw));
    case 3: return lui_or_addi16sp(raw);
    case 4: return misc_alu(raw);
    case 5: return make(Op::kJal, raw, {}, imm_jump(raw));
    case 6: return make(Op::kBeq, raw, {.rs1 = tested}, imm_branch(raw));
    default: return make(Op::kBne, raw, {.rs1 = tested}, imm_branch(raw));
  }
}

// C.JR, C.MV, C.EBREAK, C.JALR and C.ADD share funct3 4.
DecodedOp jump_or_move(std::uint32_t raw) {
  const std::uint8_t rd = full_register(raw, 7);
  const std::uint8_t rs2 = full_register(raw, 2);
  const bool links = ((raw >> 12) & 1) != 0;
  if (rs2 != 0) {
    const std::uint8_t rs1 = links ? rd : std::uint8_t{0};
    return make(Op::kAdd, raw, {.rd = rd, .rs1 = rs1, .rs2 = rs2}, 0);
  }
  if (rd == 0) return links ? make(Op::kEbreak, raw, {}, 0) : illegal(raw);
  return make(Op::kJalr, raw, {.rd = links ? std::uint8_t{1} : std::uint8_t{0}, .rs1 = rd}, 0);
}

DecodedOp stack_load(Op op, std::uint32_t raw, std::int32_t imm) {
  const std::uint8_t rd = full_register(raw, 7);
  return rd == 0 ? illegal(raw) : make(op, raw, {.rd = rd, .rs1 = 2}, imm);
}

DecodedOp quadrant2(std::uint32_t raw) {
  const std::uint8_t rd = full_register(raw, 7);
  const Registers stored{.rs1 = 2, .rs2 = full_register(raw, 2)};
  const std::int32_t high = move(raw, 12, 1, 5);
  const std::int32_t load_double = high + move(raw, 5, 2, 3) + move(raw, 2, 3, 6);
  const std::int32_t store_double = move(raw, 10, 3, 3) + move(raw, 7, 3, 6);
  switch (raw >> 13) {
    case 0: return make(Op::kSlli, raw, {.rd = rd, .rs1 = rd}, shamt6(raw));
    case 1: return make(Op::kFld, raw, {.rd = rd, .rs1 = 2}, load_double);
    case 2: return stack_load(Op::kLw, raw, high + move(raw, 4, 3, 2) + move(raw, 2, 2, 6));
    case 3: return stack_load(Op::kLd, raw, load_double);
    case 4: return jump_or_move(raw);
    case 5: return make(Op::kFsd, raw, stored, store_double);
    case 6: return make(Op::kSw, raw, stored, move(raw, 9, 4, 2) + move(raw, 7, 2, 6));
    default: return make(Op::kSd, raw, stored, store_double);
  }
}

}  // namespace

DecodedOp decode_compressed(std::uint16_t raw) {
  switch (raw & 3) {
    case 0: return quadrant0(raw);
    case 1: return quadrant1(raw);
    case 2: return quadrant2(raw);
    default: return illegal(raw);
  }
}

}  // namespace vmrun
