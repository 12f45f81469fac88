#include <gtest/gtest.h>

#include <initializer_list>

#include "tools/vmrun/decode.h"

namespace vmrun {
namespace {

struct Expected {
  std::uint16_t raw;
  Op op;
  std::uint8_t rd, rs1, rs2;
  std::int32_t imm;
};

// Encodings as GNU as 2.40 gives them.
TEST(DecodeCompressedTest, KnowsEncodingsOfTheGnuAssembler) {
  const Expected cases[] = {
      {0x1fe8, Op::kAddi, 10, 2, 0, 1020},    // c.addi4spn a0,sp,1020
      {0x0040, Op::kAddi, 8, 2, 0, 4},        // c.addi4spn s0,sp,4
      {0x5cfc, Op::kLw, 15, 9, 0, 124},       // c.lw a5,124(s1)
      {0x43c0, Op::kLw, 8, 15, 0, 4},         // c.lw s0,4(a5)
      {0x7cfc, Op::kLd, 15, 9, 0, 248},       // c.ld a5,248(s1)
      {0x6780, Op::kLd, 8, 15, 0, 8},         // c.ld s0,8(a5)
      {0xc0bc, Op::kSw, 0, 9, 15, 64},        // c.sw a5,64(s1)
      {0xe0fc, Op::kSd, 0, 9, 15, 192},       // c.sd a5,192(s1)
      {0x0001, Op::kAddi, 0, 0, 0, 0},        // c.nop
      {0x1501, Op::kAddi, 10, 10, 0, -32},    // c.addi a0,-32
      {0x0ffd, Op::kAddi, 31, 31, 0, 31},     // c.addi t6,31
      {0x357d, Op::kAddiw, 10, 10, 0, -1},    // c.addiw a0,-1
      {0x2f81, Op::kAddiw, 31, 31, 0, 0},     // c.addiw t6,0
      {0x5501, Op::kAddi, 10, 0, 0, -32},     // c.li a0,-32
      {0x4ffd, Op::kAddi, 31, 0, 0, 31},      // c.li t6,31
      {0x7101, Op::kAddi, 2, 2, 0, -512},     // c.addi16sp sp,-512
      {0x617d, Op::kAddi, 2, 2, 0, 496},      // c.addi16sp sp,496
      {0x6141, Op::kAddi, 2, 2, 0, 16},       // c.addi16sp sp,16
      {0x7501, Op::kLui, 10, 0, 0, -131072},  // c.lui a0,0xfffe0
      {0x6ffd, Op::kLui, 31, 0, 0, 126976},   // c.lui t6,31
      {0x917d, Op::kSrli, 10, 10, 0, 63},     // c.srli a0,63
      {0x9481, Op::kSrai, 9, 9, 0, 32},       // c.srai s1,32
      {0x9b81, Op::kAndi, 15, 15, 0, -32},    // c.andi a5,-32
      {0x8c1d, Op::kSub, 8, 8, 15, 0},        // c.sub s0,a5
      {0x8c3d, Op::kXor, 8, 8, 15, 0},        // c.xor s0,a5
      {0x8c5d, Op::kOr, 8, 8, 15, 0},         // c.or s0,a5
      {0x8c7d, Op::kAnd, 8, 8, 15, 0},        // c.and s0,a5
      {0x9c1d, Op::kSubw, 8, 8, 15, 0},       // c.subw s0,a5
      {0x9c3d, Op::kAddw, 8, 8, 15, 0},       // c.addw s0,a5
      {0x157e, Op::kSlli, 10, 10, 0, 63},     // c.slli a0,63
      {0x0f86, Op::kSlli, 31, 31, 0, 1},      // c.slli t6,1
      {0x557e, Op::kLw, 10, 2, 0, 252},       // c.lwsp a0,252(sp)
      {0x4f92, Op::kLw, 31, 2, 0, 4},         // c.lwsp t6,4(sp)
      {0x757e, Op::kLd, 10, 2, 0, 504},       // c.ldsp a0,504(sp)
      {0x6fa2, Op::kLd, 31, 2, 0, 8},         // c.ldsp t6,8(sp)
      {0xdfaa, Op::kSw, 0, 2, 10, 252},       // c.swsp a0,252(sp)
      {0xfffe, Op::kSd, 0, 2, 31, 504},       // c.sdsp t6,504(sp)
      {0x8f82, Op::kJalr, 0, 31, 0, 0},       // c.jr t6
      {0x857e, Op::kAdd, 10, 0, 31, 0},       // c.mv a0,t6
      {0x9002, Op::kEbreak, 0, 0, 0, 0},      // c.ebreak
      {0x9502, Op::kJalr, 1, 10, 0, 0},       // c.jalr a0
      {0x957e, Op::kAdd, 10, 10, 31, 0},      // c.add a0,t6
  };
  for (const Expected& want : cases) {
    const DecodedOp expected{.op = want.op,
                             .rd = want.rd,
                             .rs1 = want.rs1,
                             .rs2 = want.rs2,
                             .bytes = 2,
                             .imm = want.imm,
                             .raw = want.raw};
    EXPECT_EQ(decode_compressed(want.raw), expected) << std::hex << want.raw;
  }
}

// Puts the bits of an offset where the format wants them, from the manual's figures.
std::uint16_t jump(int imm) {
  const auto bit = [imm](int from, int to) { return ((imm >> from) & 1) << to; };
  return static_cast<std::uint16_t>(0xa001 | bit(11, 12) | bit(4, 11) | bit(9, 10) | bit(8, 9) |
                                    bit(10, 8) | bit(6, 7) | bit(7, 6) | bit(3, 5) | bit(2, 4) |
                                    bit(1, 3) | bit(5, 2));
}
std::uint16_t branch_if_zero(int imm) {
  const auto bit = [imm](int from, int to) { return ((imm >> from) & 1) << to; };
  return static_cast<std::uint16_t>(0xc081 | bit(8, 12) | bit(4, 11) | bit(3, 10) | bit(7, 6) |
                                    bit(6, 5) | bit(2, 4) | bit(1, 3) | bit(5, 2));
}

TEST(DecodeCompressedTest, RoundTripsEveryJumpOffset) {
  for (int offset = -2048; offset < 2048; offset += 2) {
    const DecodedOp got = decode_compressed(jump(offset));
    EXPECT_EQ(got.op, Op::kJal);
    EXPECT_EQ(got.rd, 0);
    EXPECT_EQ(got.imm, offset);
  }
}

TEST(DecodeCompressedTest, RoundTripsEveryBranchOffset) {
  for (int offset = -256; offset < 256; offset += 2) {
    const DecodedOp got = decode_compressed(branch_if_zero(offset));
    EXPECT_EQ(got.op, Op::kBeq);
    EXPECT_EQ(got.rs1, 9);
    EXPECT_EQ(got.rs2, 0);
    EXPECT_EQ(got.imm, offset);
  }
}

TEST(DecodeCompressedTest, RefusesReservedEncodings) {
  const std::uint16_t reserved[] = {
      0x0000,  // defined to be illegal
      0x0004,  // addi4spn with the immediate 0
      0x8000,  // reserved quadrant 0
      0x2001,  // c.addiw with rd = x0
      0x6101,  // addi16sp with the immediate 0
      0x6501,  // lui with the immediate 0
      0x9c41,  // reserved register pair
      0x9c61,  // reserved register pair
      0x4002,  // lwsp with rd = x0
      0x6002,  // ldsp with rd = x0
      0x8002,  // c.jr x0
  };
  for (const std::uint16_t raw : reserved) {
    const DecodedOp got = decode_compressed(raw);
    EXPECT_EQ(got.op, Op::kIllegal) << std::hex << raw;
    EXPECT_EQ(got.raw, raw);
    EXPECT_EQ(got.bytes, 2);
  }
}

// Hints do nothing, but they are not illegal.
TEST(DecodeCompressedTest, AcceptsHints) {
  for (const std::uint16_t raw :
       std::initializer_list<std::uint16_t>{0x0005, 0x4001, 0x6005, 0x8006, 0x0006}) {
    const DecodedOp got = decode_compressed(raw);
    EXPECT_NE(got.op, Op::kIllegal) << std::hex << raw;
    EXPECT_EQ(got.rd, 0);
  }
}

}  // namespace
}  // namespace vmrun
