#include <gtest/gtest.h>

#include "tests/vmrun/assembler.h"
#include "tests/vmrun/bare_hart.h"

namespace vmrun {
namespace {

namespace as = assembler;
constexpr std::uint64_t kMin = std::uint64_t{1} << 63;
constexpr std::uint64_t kMax = kMin - 1;
constexpr std::uint64_t kMinusOne = ~std::uint64_t{0};

struct Case {
  const char* name;
  std::uint32_t encoding;  // rd = x5, rs1 = x6, rs2 = x7
  std::uint64_t a, b, want;
};

std::uint32_t rr(unsigned funct7, unsigned funct3) { return as::op(funct7, funct3, 5, 6, 7); }
std::uint32_t rw(unsigned funct7, unsigned funct3) { return as::op_w(funct7, funct3, 5, 6, 7); }
std::uint32_t ri(unsigned funct3, int imm) { return as::i_type(imm, 6, funct3, 5, 0x13); }
std::uint32_t wi(unsigned funct3, int imm) { return as::i_type(imm, 6, funct3, 5, 0x1b); }

class ExecuteTest : public testing::TestWithParam<Case> {};

TEST_P(ExecuteTest, GivesTheManualsResult) {
  BareHart hart;
  hart.x(6) = GetParam().a;
  hart.x(7) = GetParam().b;
  hart.execute({GetParam().encoding});
  EXPECT_EQ(hart.x(5), GetParam().want);
  EXPECT_EQ(hart.state().pc, BareHart::kCode + 4);
  EXPECT_EQ(hart.state().csrs.mcause, 0u);
}

const Case kInteger[] = {
    {"AddWraps", rr(0, 0), kMinusOne, 1, 0},
    {"SubWraps", rr(0x20, 0), 0, 1, kMinusOne},
    {"SllTakesSixBits", rr(0, 1), 1, 64 + 63, kMin},
    {"SltIsSigned", rr(0, 2), kMinusOne, 0, 1},
    {"SltOfEqualsIsFalse", rr(0, 2), 5, 5, 0},
    {"SltuIsUnsigned", rr(0, 3), kMinusOne, 0, 0},
    {"Xor", rr(0, 4), 0xff00, 0x0ff0, 0xf0f0},
    {"SrlShiftsInZeros", rr(0, 5), kMin, 63, 1},
    {"SraShiftsInTheSign", rr(0x20, 5), kMin, 63, kMinusOne},
    {"Or", rr(0, 6), 0xf0, 0x0f, 0xff},
    {"And", rr(0, 7), 0xf0, 0x3c, 0x30},
    {"AddwExtendsTheSign", rw(0, 0), 0x7fffffff, 1, 0xffffffff80000000},
    {"AddwIgnoresHighBits", rw(0, 0), 0xdead00000000, 1, 1},
    {"SubwExtendsTheSign", rw(0x20, 0), 0, 1, kMinusOne},
    {"SllwTakesFiveBits", rw(0, 1), 1, 32 + 31, 0xffffffff80000000},
    {"SrlwOfAWord", rw(0, 5), 0xffffffff80000000, 31, 1},
    {"SrlwByZeroExtendsTheSign", rw(0, 5), 0x80000000, 0, 0xffffffff80000000},
    {"SrawOfAWord", rw(0x20, 5), 0x80000000, 31, kMinusOne},
    {"AddiExtendsItsImmediate", ri(0, -2048), 0, 0, static_cast<std::uint64_t>(-2048)},
    {"SltiIsSigned", ri(2, -1), static_cast<std::uint64_t>(-2), 0, 1},
    {"SltiuComparesTheExtendedImmediate", ri(3, -1), 5, 0, 1},
    {"SltiuOneTestsForZero", ri(3, 1), 0, 0, 1},
    {"XoriMinusOneInverts", ri(4, -1), 0x1234, 0, ~std::uint64_t{0x1234}},
    {"Ori", ri(6, 0x0f), 0xf0, 0, 0xff},
    {"Andi", ri(7, -16), 0xff, 0, 0xf0},
    {"SlliBy63", ri(1, 63), 3, 0, kMin},
    {"SrliBy63", ri(5, 63), kMinusOne, 0, 1},
    {"SraiBy63", ri(5, 0x400 | 63), kMin, 0, kMinusOne},
    {"AddiwExtendsTheSign", wi(0, 1), 0x7fffffff, 0, 0xffffffff80000000},
    {"AddiwZeroIsSextW", wi(0, 0), 0x180000000, 0, 0xffffffff80000000},
    {"SlliwBy31", wi(1, 31), 1, 0, 0xffffffff80000000},
    {"SrliwBy31", wi(5, 31), 0x80000000, 0, 1},
    {"SraiwBy31", wi(5, 0x400 | 31), 0x80000000, 0, kMinusOne},
    {"LuiExtendsTheSign", as::u_type(0x80000, 5, 0x37), 0, 0, 0xffffffff80000000},
    {"AuipcAddsThePc", as::u_type(0x1, 5, 0x17), 0, 0, BareHart::kCode + 0x1000},
};

const Case kMulDiv[] = {
    {"MulWraps", rr(1, 0), kMinusOne, kMinusOne, 1},
    {"MulhOfMinusOnes", rr(1, 1), kMinusOne, kMinusOne, 0},
    {"MulhOfMinima", rr(1, 1), kMin, kMin, std::uint64_t{1} << 62},
    {"MulhsuMinusOneByMax", rr(1, 2), kMinusOne, kMinusOne, kMinusOne},
    {"MulhsuPositive", rr(1, 2), kMax, kMinusOne, kMax - 1},
    {"MulhuOfMaxima", rr(1, 3), kMinusOne, kMinusOne, kMinusOne - 1},
    {"DivTruncatesTowardZero", rr(1, 4), static_cast<std::uint64_t>(-7), 2,
     static_cast<std::uint64_t>(-3)},
    {"DivByZeroIsMinusOne", rr(1, 4), 5, 0, kMinusOne},
    {"DivOverflowIsTheDividend", rr(1, 4), kMin, kMinusOne, kMin},
    {"DivuByZeroIsAllOnes", rr(1, 5), 5, 0, kMinusOne},
    {"DivuIsUnsigned", rr(1, 5), kMinusOne, 2, kMax},
    {"RemHasTheSignOfTheDividend", rr(1, 6), static_cast<std::uint64_t>(-7), 2, kMinusOne},
    {"RemByZeroIsTheDividend", rr(1, 6), 5, 0, 5},
    {"RemOverflowIsZero", rr(1, 6), kMin, kMinusOne, 0},
    {"RemuByZeroIsTheDividend", rr(1, 7), kMinusOne, 0, kMinusOne},
    {"MulwExtendsTheSign", rw(1, 0), 0x10000, 0x8000, 0xffffffff80000000},
    {"DivwByZeroIsMinusOne", rw(1, 4), 5, 0xf00000000, kMinusOne},
    {"DivwOverflowIsTheDividend", rw(1, 4), 0x80000000, kMinusOne, 0xffffffff80000000},
    {"DivuwExtendsTheSign", rw(1, 5), 0xffffffff, 1, kMinusOne},
    {"DivuwByZeroIsAllOnes", rw(1, 5), 1, 0, kMinusOne},
    {"RemwOverflowIsZero", rw(1, 6), 0x80000000, kMinusOne, 0},
    {"RemwByZeroExtendsTheDividend", rw(1, 6), 0x80000000, 0, 0xffffffff80000000},
    {"RemuwByZeroExtendsTheDividend", rw(1, 7), 0x80000000, 0, 0xffffffff80000000},
};

const auto kName = [](const auto& test) { return std::string(test.param.name); };
INSTANTIATE_TEST_SUITE_P(Integer, ExecuteTest, testing::ValuesIn(kInteger), kName);
INSTANTIATE_TEST_SUITE_P(MulDiv, ExecuteTest, testing::ValuesIn(kMulDiv), kName);

TEST(ExecuteIntegerTest, NothingChangesX0) {
  BareHart hart;
  hart.execute({as::addi(0, 0, 5), as::u_type(1, 0, 0x37), as::addi(5, 0, 0)});
  EXPECT_EQ(hart.x(0), 0u);
  EXPECT_EQ(hart.x(5), 0u);
}

}  // namespace
}  // namespace vmrun
