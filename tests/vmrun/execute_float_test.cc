#include <gtest/gtest.h>

#include <bit>

#include "tests/vmrun/assembler.h"
#include "tests/vmrun/bare_hart.h"

namespace vmrun {
namespace {

namespace as = assembler;

constexpr std::uint64_t kBox = 0xffff'ffff'0000'0000;
constexpr std::uint64_t kNanSingle = kBox | 0x7fc0'0000;
constexpr unsigned kDynamic = 7;

std::uint64_t boxed(float value) { return kBox | std::bit_cast<std::uint32_t>(value); }
std::uint64_t bits(double value) { return std::bit_cast<std::uint64_t>(value); }

// rd, rs1, rs2 and rs3 are numbers 1, 2, 3 and 4 of either register file.
constexpr std::uint32_t op_fp(unsigned funct7, unsigned rm = 0, unsigned rs2 = 3) {
  return as::r_type(funct7, rs2, 2, rm, 1, 0x53);
}
constexpr std::uint32_t fused(unsigned opcode, unsigned format) {
  return as::r_type(4 << 2 | format, 3, 2, 0, 1, opcode);
}

class FloatHart : public BareHart {
 public:
  FloatHart() { state().csrs.mstatus |= kMstatusFs & (kMstatusFs >> 1); }  // Initial
  std::uint64_t& f(unsigned index) { return state().f[index]; }
  std::uint64_t flags() { return state().csrs.fflags; }
  bool dirty() { return (state().csrs.mstatus & kMstatusFs) == kMstatusFs; }
  std::uint64_t cause_of(std::uint32_t word) {
    state().csrs.mcause = 0;
    execute({word, as::kNop});
    return state().csrs.mcause;
  }
};

struct Case {
  std::uint32_t encoding;
  std::uint64_t want;  // in f1, of f2 = 6, f3 = 1.5 and f4 = 0.25
};

TEST(ExecuteFloatTest, DoublesComputeWhatTheyName) {
  for (const Case& test :
       {Case{op_fp(0x01), bits(7.5)}, Case{op_fp(0x05), bits(4.5)}, Case{op_fp(0x09), bits(9)},
        Case{op_fp(0x0d), bits(4)}, Case{op_fp(0x15, 0), bits(1.5)}, Case{op_fp(0x15, 1), bits(6)},
        Case{op_fp(0x11, 0), bits(6)}, Case{op_fp(0x11, 1), bits(-6)},
        Case{op_fp(0x11, 2), bits(6)}, Case{fused(0x43, 1), bits(9.25)},
        Case{fused(0x47, 1), bits(8.75)}, Case{fused(0x4b, 1), bits(-8.75)},
        Case{fused(0x4f, 1), bits(-9.25)}, Case{op_fp(0x20, 0, 1), boxed(6)}}) {
    FloatHart hart;
    hart.f(2) = bits(6);
    hart.f(3) = bits(1.5);
    hart.f(4) = bits(0.25);
    EXPECT_EQ(hart.cause_of(test.encoding), 0u) << std::hex << test.encoding;
    EXPECT_EQ(hart.f(1), test.want) << std::hex << test.encoding;
    EXPECT_TRUE(hart.dirty());
  }
}

TEST(ExecuteFloatTest, SinglesComputeWhatTheyNameAndAreBoxed) {
  for (const Case& test :
       {Case{op_fp(0x00), boxed(7.5)}, Case{op_fp(0x04), boxed(4.5)}, Case{op_fp(0x08), boxed(9)},
        Case{op_fp(0x0c), boxed(4)}, Case{op_fp(0x14, 0), boxed(1.5)},
        Case{op_fp(0x10, 1), boxed(-6)}, Case{fused(0x43, 0), boxed(9.25)},
        Case{fused(0x4b, 0), boxed(-8.75)}, Case{op_fp(0x21, 0, 0), bits(6)}}) {
    FloatHart hart;
    hart.f(2) = boxed(6);
    hart.f(3) = boxed(1.5);
    hart.f(4) = boxed(0.25);
    EXPECT_EQ(hart.cause_of(test.encoding), 0u) << std::hex << test.encoding;
    EXPECT_EQ(hart.f(1), test.want) << std::hex << test.encoding;
  }
}

TEST(ExecuteFloatTest, WhatIsNotBoxedIsANanToSingles) {
  FloatHart hart;
  hart.f(2) = std::bit_cast<std::uint32_t>(6.0f);
  hart.f(3) = boxed(1.5);
  hart.execute({op_fp(0x00)});
  EXPECT_EQ(hart.f(1), kNanSingle);
  EXPECT_EQ(hart.flags(), 0u);
  hart.execute({op_fp(0x10)});  // fsgnj.s
  EXPECT_EQ(hart.f(1), kNanSingle);
  hart.f(2) = 0x1234'5678'8000'0001;
  hart.execute({as::r_type(0x70, 0, 2, 0, 1, 0x53)});  // fmv.x.w takes the bits
  EXPECT_EQ(hart.x(1), 0xffff'ffff'8000'0001u);
}

TEST(ExecuteFloatTest, IntegersGoBothWays) {
  FloatHart hart;
  hart.x(2) = 0xffff'ffff'ffff'fffe;
  hart.execute(
      {as::r_type(0x69, 0, 2, kDynamic, 1, 0x53), as::r_type(0x69, 1, 2, kDynamic, 5, 0x53),
       as::r_type(0x69, 2, 2, kDynamic, 6, 0x53), as::r_type(0x68, 3, 2, kDynamic, 7, 0x53)});
  EXPECT_EQ(hart.f(1), bits(-2));
  EXPECT_EQ(hart.f(5), bits(4294967294.0));
  EXPECT_EQ(hart.f(6), bits(-2));
  EXPECT_EQ(hart.f(7), boxed(0x1p64f));
  EXPECT_EQ(hart.flags(), 1u);
  hart.f(2) = bits(-1.5);
  hart.execute({as::r_type(0x61, 0, 2, 1, 5, 0x53), as::r_type(0x61, 2, 2, 2, 6, 0x53)});
  EXPECT_EQ(hart.x(5), ~std::uint64_t{0});  // toward zero
  EXPECT_EQ(hart.x(6), ~std::uint64_t{1});  // down
  hart.f(2) = bits(4294967295.0);
  hart.execute({as::r_type(0x61, 1, 2, 0, 0, 0x53), as::r_type(0x61, 1, 2, 0, 5, 0x53)});
  EXPECT_EQ(hart.x(0), 0u);
  EXPECT_EQ(hart.x(5), ~std::uint64_t{0});  // fcvt.wu.d extends the sign
}

TEST(ExecuteFloatTest, ComparisonsAndClassesGoToIntegerRegisters) {
  FloatHart hart;
  hart.f(2) = bits(1);
  hart.f(3) = bits(2);
  hart.execute({as::r_type(0x51, 3, 2, 1, 5, 0x53), as::r_type(0x51, 2, 3, 0, 6, 0x53),
                as::r_type(0x51, 2, 2, 2, 7, 0x53), as::r_type(0x71, 0, 2, 1, 8, 0x53)});
  EXPECT_EQ(hart.x(5), 1u);
  EXPECT_EQ(hart.x(6), 0u);
  EXPECT_EQ(hart.x(7), 1u);
  EXPECT_EQ(hart.x(8), 1u << 6);
  EXPECT_FALSE(hart.dirty());
}

TEST(ExecuteFloatTest, RoundingIsTheInstructionsOrFrms) {
  FloatHart hart;
  hart.f(2) = bits(1);
  hart.f(3) = bits(0x1p-60);
  hart.x(6) = 3;  // up
  hart.execute({as::csrrw(0, 0x002, 6), op_fp(0x01, kDynamic)});
  EXPECT_EQ(hart.f(1), bits(1) + 1);
  hart.execute({op_fp(0x01, 1)});
  EXPECT_EQ(hart.f(1), bits(1));
  for (const unsigned wrong : {5u, 6u}) EXPECT_EQ(hart.cause_of(op_fp(0x01, wrong)), 2u);
  hart.state().csrs.frm = 5;
  EXPECT_EQ(hart.cause_of(op_fp(0x01, kDynamic)), 2u);
  EXPECT_EQ(hart.cause_of(op_fp(0x01, 1)), 0u);
  EXPECT_EQ(hart.cause_of(op_fp(0x15, 0)), 0u);  // rounds nothing
}

TEST(ExecuteFloatTest, FlagsAddUpUntilTheyAreCleared) {
  FloatHart hart;
  hart.f(2) = bits(1);
  hart.f(3) = bits(0);
  hart.execute({op_fp(0x0d), as::csrrs(5, 0x003, 0)});
  EXPECT_EQ(hart.x(5), 8u);
  hart.f(2) = bits(0);
  hart.execute(
      {op_fp(0x0d), as::csrrs(5, 0x001, 0), as::csrrw(0, 0x003, 0), as::csrrs(6, 0x003, 0)});
  EXPECT_EQ(hart.x(5), 24u);
  EXPECT_EQ(hart.x(6), 0u);
}

TEST(ExecuteFloatTest, OffEverythingIsIllegal) {
  FloatHart hart;
  hart.state().csrs.mstatus &= ~kMstatusFs;
  hart.x(2) = BareHart::kData;
  for (const std::uint32_t word :
       {op_fp(0x01), op_fp(0x15), fused(0x43, 1), as::i_type(0, 2, 3, 1, 0x07),
        as::s_type(0, 1, 2, 3, 0x27), as::csrrs(5, 0x003, 0), as::r_type(0x71, 0, 2, 0, 1, 0x53)}) {
    EXPECT_EQ(hart.cause_of(word), 2u) << std::hex << word;
    EXPECT_EQ(hart.state().csrs.mtval, word);
  }
}

TEST(ExecuteFloatTest, LoadsAndStoresMoveBits) {
  FloatHart hart;
  hart.poke<std::uint64_t>(BareHart::kData, 0x1122'3344'5566'7788);
  hart.x(8) = BareHart::kData;
  hart.x(2) = BareHart::kData;
  // flw f0; fsw f0, 8; fld f1; fsd f1, 16; c.fld f9, 0(x8); c.fsd f9, 24(x8).
  hart.execute({as::i_type(0, 8, 2, 0, 0x07), as::s_type(8, 0, 8, 2, 0x27),
                as::i_type(0, 8, 3, 1, 0x07), as::s_type(16, 1, 8, 3, 0x27), 0xac04'2004});
  EXPECT_EQ(hart.f(0), kBox | 0x5566'7788u);
  EXPECT_EQ(hart.peek<std::uint64_t>(BareHart::kData + 8), 0x5566'7788u);
  EXPECT_EQ(hart.f(1), 0x1122'3344'5566'7788u);
  EXPECT_EQ(hart.peek<std::uint64_t>(BareHart::kData + 16), 0x1122'3344'5566'7788u);
  EXPECT_EQ(hart.f(9), 0x1122'3344'5566'7788u);
  EXPECT_EQ(hart.peek<std::uint64_t>(BareHart::kData + 24), 0x1122'3344'5566'7788u);
  hart.f(10) = 7;
  // c.fsdsp f10, 32(sp); c.fldsp f11, 32(sp).
  hart.execute({0x3582'0000u | 0xb02au});
  EXPECT_EQ(hart.peek<std::uint64_t>(BareHart::kData + 32), 7u);
  EXPECT_EQ(hart.f(11), 7u);
  hart.x(2) = 0;
  EXPECT_EQ(hart.cause_of(as::i_type(0, 2, 3, 1, 0x07)), 5u);
  EXPECT_EQ(hart.cause_of(as::s_type(0, 1, 2, 3, 0x27)), 7u);
}

TEST(ExecuteFloatTest, MstatusSumsUpTheState) {
  FloatHart hart;
  hart.execute(
      {as::csrrs(5, 0x300, 0), op_fp(0x11), as::csrrs(6, 0x300, 0), as::csrrs(7, 0x100, 0)});
  EXPECT_EQ(hart.x(5) >> 63, 0u);
  EXPECT_EQ(hart.x(6) >> 63, 1u);
  EXPECT_EQ(hart.x(7) >> 63, 1u);
}

}  // namespace
}  // namespace vmrun
