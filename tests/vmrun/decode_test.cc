#include "tools/vmrun/decode.h"

#include <gtest/gtest.h>

#include "tests/vmrun/assembler.h"

namespace vmrun {
namespace {

namespace as = assembler;

struct Expected {
  std::uint32_t raw;
  Op op;
  unsigned rd, rs1, rs2;
  std::int32_t imm;
};

void expect_op(const DecodedOp& got, const Expected& want, unsigned bytes) {
  const DecodedOp expected{.op = want.op,
                           .rd = static_cast<std::uint8_t>(want.rd),
                           .rs1 = static_cast<std::uint8_t>(want.rs1),
                           .rs2 = static_cast<std::uint8_t>(want.rs2),
                           .bytes = static_cast<std::uint8_t>(bytes),
                           .imm = want.imm,
                           .raw = want.raw};
  EXPECT_EQ(got, expected) << std::hex << "encoding " << want.raw << " op "
                           << static_cast<int>(got.op) << " imm " << got.imm;
}

// Encodings as GNU as 2.40 gives them.
TEST(DecodeTest, KnowsEncodingsOfTheGnuAssembler) {
  const Expected cases[] = {
      {0x800002b7, Op::kLui, 5, 0, 0, INT32_MIN},     // lui t0,0x80000
      {0x7ffff317, Op::kAuipc, 6, 0, 0, 0x7ffff000},  // auipc t1,0x7ffff
      {0xffdff0ef, Op::kJal, 1, 0, 0, -4},            // jal ra,-4
      {0x000080e7, Op::kJalr, 1, 1, 0, 0},            // jalr ra
      {0xfe628ee3, Op::kBeq, 0, 5, 6, -4},            // beq t0,t1,-4
      {0xff853503, Op::kLd, 10, 10, 0, -8},           // ld a0,-8(a0)
      {0xfea53c23, Op::kSd, 0, 10, 10, -8},           // sd a0,-8(a0)
      {0x80050513, Op::kAddi, 10, 10, 0, -2048},      // addi a0,a0,-2048
      {0x43f55513, Op::kSrai, 10, 10, 0, 63},         // srai a0,a0,63
      {0x41f5551b, Op::kSraiw, 10, 10, 0, 31},        // sraiw a0,a0,31
      {0x40b50533, Op::kSub, 10, 10, 11, 0},          // sub a0,a0,a1
      {0x02b55533, Op::kDivu, 10, 10, 11, 0},         // divu a0,a0,a1
      {0x02b5753b, Op::kRemuw, 10, 10, 11, 0},        // remuw a0,a0,a1
      {0x1005252f, Op::kLrW, 10, 10, 0, 0},           // lr.w a0,(a0)
      {0x18b5352f, Op::kScD, 10, 10, 11, 0},          // sc.d a0,a1,(a0)
      {0xe6b5352f, Op::kAmomaxuD, 10, 10, 11, 0},     // amomaxu.d.aqrl a0,a1,(a0)
      {0x34029073, Op::kCsrrw, 0, 5, 0, 0x340},       // csrw mscratch,t0
      {0xc01026f3, Op::kCsrrs, 13, 0, 0, 0xc01},      // rdtime a3
      {0x30047073, Op::kCsrrci, 0, 8, 0, 0x300},      // csrci mstatus,8
      {0x30200073, Op::kMret, 0, 0, 0, 0},
      {0x10500073, Op::kWfi, 0, 0, 0, 0},
      {0x0000100f, Op::kFenceI, 0, 0, 0, 0},
      {0x8330000f, Op::kFence, 0, 0, 0, 0},      // fence.tso
      {0x00c5850b, Op::kVmCpy, 10, 11, 12, 0},   // .insn r CUSTOM_0,0,0,a0,a1,a2
      {0x00c5950b, Op::kVmCpyf, 10, 11, 12, 0},  // .insn r CUSTOM_0,1,0,a0,a1,a2
      {0x00c5a50b, Op::kVmCpyb, 10, 11, 12, 0},  // .insn r CUSTOM_0,2,0,a0,a1,a2
      {0x00c0350b, Op::kVmSet, 10, 0, 12, 0},    // .insn r CUSTOM_0,3,0,a0,zero,a2
  };
  for (const Expected& want : cases) expect_op(decode(want.raw), want, 4);
}

TEST(DecodeTest, RoundTripsEveryBranchOffset) {
  for (int offset = -4096; offset < 4096; offset += 2) {
    EXPECT_EQ(decode(as::b_type(offset, 3, 4, 1)).imm, offset);
  }
}

TEST(DecodeTest, RoundTripsJumpOffsets) {
  for (int bit = 1; bit < 20; ++bit) EXPECT_EQ(decode(as::jal(1, 1 << bit)).imm, 1 << bit);
  EXPECT_EQ(decode(as::jal(1, -(1 << 20))).imm, -(1 << 20));
  EXPECT_EQ(decode(as::jal(1, -2)).imm, -2);
}

TEST(DecodeTest, RoundTripsEveryStoreOffset) {
  for (int offset = -2048; offset < 2048; ++offset) {
    EXPECT_EQ(decode(as::store(3, 1, 2, offset)).imm, offset);
  }
}

TEST(DecodeTest, RefusesReservedEncodings) {
  const std::uint32_t reserved[] = {
      0xffffffff,
      0x00000007,                        // floating-point load with funct3 0
      as::i_type(0, 1, 7, 1, 0x03),      // load with funct3 7
      as::store(4, 1, 2, 0),             // store with funct3 4
      as::b_type(8, 1, 2, 2),            // branch with funct3 2
      as::i_type(0, 1, 1, 1, 0x67),      // jalr with funct3 1
      as::i_type(0x400, 1, 1, 1, 0x13),  // slli with a funct6
      as::i_type(0x200, 1, 5, 1, 0x13),  // srli with a funct6 other than srai's
      as::i_type(0x020, 1, 1, 1, 0x1b),  // slliw by 32
      as::op(2, 0, 1, 2, 3),
      as::op(0x20, 1, 1, 2, 3),
      as::op_w(0, 2, 1, 2, 3),
      as::op_w(1, 1, 1, 2, 3),  // there is no mulhw
      as::amo(2, 2, 1, 2, 3),   // lr with an rs2
      as::amo(5, 2, 1, 2, 3),
      as::amo(0, 1, 1, 2, 3),
      as::csr(4, 1, 2, 0x340),
      0x12000173,  // sfence.vma with an rd
      0x16000073,  // sinval.vma
      0x00200073,  // uret
      0x000000f3,  // ecall with an rd
      0x0000300f,  // misc-mem with funct3 3
      0x0030200f,  // cbo 3
      0x0000208f,  // cbo.inval with an rd
      0x00005053,  // fadd.s in the rounding mode 5
      0x04000053,  // half precision
      0x40000053,  // fcvt.s.s
      0x58100053,  // fsqrt with an rs2
      0x20003053,  // fsgnj with funct3 3
      0xe0002053,  // fclass with funct3 2
      0x00001007,  // flh
      0x00c5c50b,  // custom-0 with funct3 4
      0x02c5850b,  // vm.cpy with a funct7
      0x00c5800b,  // vm.cpy with rd x0
      0x00c0050b,  // vm.cpy with rs1 x0
      0x0005850b,  // vm.cpy with rs2 x0
      0x00c5050b,  // vm.cpy with rd = rs1
      0x00c5860b,  // vm.cpy with rd = rs2
      0x00b5850b,  // vm.cpy with rs1 = rs2
  };
  for (const std::uint32_t raw : reserved) {
    EXPECT_EQ(decode(raw).op, Op::kIllegal) << std::hex << raw;
    EXPECT_EQ(decode(raw).raw, raw);
  }
}

TEST(DecodeTest, LengthIsInTheLowestBits) {
  EXPECT_EQ(instruction_bytes(0x0003), 4u);
  EXPECT_EQ(instruction_bytes(0x0000), 2u);
  EXPECT_EQ(instruction_bytes(0x0001), 2u);
  EXPECT_EQ(instruction_bytes(0x0002), 2u);
}

}  // namespace
}  // namespace vmrun
