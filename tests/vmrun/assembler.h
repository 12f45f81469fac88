// Encoders for the tests, written from the formats of the ISA manual and on their own:
// they share nothing with the decoder.
#ifndef TESTS_VMRUN_ASSEMBLER_H_
#define TESTS_VMRUN_ASSEMBLER_H_

#include <cstdint>

namespace vmrun::assembler {

constexpr std::uint32_t u32(std::int64_t value) { return static_cast<std::uint32_t>(value); }

constexpr std::uint32_t r_type(unsigned funct7, unsigned rs2, unsigned rs1, unsigned funct3,
                               unsigned rd, unsigned opcode) {
  return funct7 << 25 | rs2 << 20 | rs1 << 15 | funct3 << 12 | rd << 7 | opcode;
}
constexpr std::uint32_t i_type(int imm, unsigned rs1, unsigned funct3, unsigned rd,
                               unsigned opcode) {
  return (u32(imm) & 0xfff) << 20 | rs1 << 15 | funct3 << 12 | rd << 7 | opcode;
}
constexpr std::uint32_t s_type(int imm, unsigned rs2, unsigned rs1, unsigned funct3,
                               unsigned opcode) {
  const std::uint32_t bits = u32(imm) & 0xfff;
  return (bits >> 5) << 25 | rs2 << 20 | rs1 << 15 | funct3 << 12 | (bits & 31) << 7 | opcode;
}
constexpr std::uint32_t b_type(int imm, unsigned rs2, unsigned rs1, unsigned funct3) {
  const std::uint32_t bits = u32(imm);
  return (bits >> 12 & 1) << 31 | (bits >> 5 & 63) << 25 | rs2 << 20 | rs1 << 15 | funct3 << 12 |
         (bits >> 1 & 15) << 8 | (bits >> 11 & 1) << 7 | 0x63;
}
constexpr std::uint32_t u_type(std::uint32_t imm20, unsigned rd, unsigned opcode) {
  return imm20 << 12 | rd << 7 | opcode;
}
constexpr std::uint32_t jal(unsigned rd, int imm) {
  const std::uint32_t bits = u32(imm);
  return (bits >> 20 & 1) << 31 | (bits >> 1 & 1023) << 21 | (bits >> 11 & 1) << 20 |
         (bits >> 12 & 255) << 12 | rd << 7 | 0x6f;
}

constexpr std::uint32_t addi(unsigned rd, unsigned rs1, int imm) {
  return i_type(imm, rs1, 0, rd, 0x13);
}
constexpr std::uint32_t op(unsigned funct7, unsigned funct3, unsigned rd, unsigned rs1,
                           unsigned rs2) {
  return r_type(funct7, rs2, rs1, funct3, rd, 0x33);
}
constexpr std::uint32_t op_w(unsigned funct7, unsigned funct3, unsigned rd, unsigned rs1,
                             unsigned rs2) {
  return r_type(funct7, rs2, rs1, funct3, rd, 0x3b);
}
constexpr std::uint32_t load(unsigned funct3, unsigned rd, unsigned rs1, int imm) {
  return i_type(imm, rs1, funct3, rd, 0x03);
}
constexpr std::uint32_t store(unsigned funct3, unsigned rs2, unsigned rs1, int imm) {
  return s_type(imm, rs2, rs1, funct3, 0x23);
}
// width 2: word, 3: doubleword.
constexpr std::uint32_t amo(unsigned funct5, unsigned width, unsigned rd, unsigned rs1,
                            unsigned rs2) {
  return r_type(funct5 << 2, rs2, rs1, width, rd, 0x2f);
}
constexpr std::uint32_t csr(unsigned funct3, unsigned rd, unsigned rs1, unsigned number) {
  return number << 20 | rs1 << 15 | funct3 << 12 | rd << 7 | 0x73;
}
constexpr std::uint32_t csrrw(unsigned rd, unsigned number, unsigned rs1) {
  return csr(1, rd, rs1, number);
}
constexpr std::uint32_t csrrs(unsigned rd, unsigned number, unsigned rs1) {
  return csr(2, rd, rs1, number);
}

inline constexpr std::uint32_t kEcall = 0x00000073;
inline constexpr std::uint32_t kEbreak = 0x00100073;
inline constexpr std::uint32_t kMret = 0x30200073;
inline constexpr std::uint32_t kWfi = 0x10500073;
inline constexpr std::uint32_t kFenceI = 0x0000100f;
inline constexpr std::uint32_t kFence = 0x0ff0000f;
inline constexpr std::uint32_t kNop = 0x00000013;

}  // namespace vmrun::assembler

#endif  // TESTS_VMRUN_ASSEMBLER_H_
