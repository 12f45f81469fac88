#include <gtest/gtest.h>

#include "tests/vmrun/assembler.h"
#include "tests/vmrun/bare_hart.h"

namespace vmrun {
namespace {

namespace as = assembler;

bool takes(unsigned funct3, std::uint64_t a, std::uint64_t b) {
  BareHart hart;
  hart.x(6) = a;
  hart.x(7) = b;
  hart.execute({as::b_type(0x100, 7, 6, funct3)});
  EXPECT_TRUE(hart.state().pc == BareHart::kCode + 4 || hart.state().pc == BareHart::kCode + 0x100);
  return hart.state().pc == BareHart::kCode + 0x100;
}

TEST(ExecuteControlTest, BranchesCompareAsTheySay) {
  constexpr std::uint64_t kMinusOne = ~std::uint64_t{0};
  EXPECT_TRUE(takes(0, 5, 5));
  EXPECT_FALSE(takes(0, 5, 6));
  EXPECT_TRUE(takes(1, 5, 6));
  EXPECT_FALSE(takes(1, 5, 5));
  EXPECT_TRUE(takes(4, kMinusOne, 0));
  EXPECT_FALSE(takes(4, 0, 0));
  EXPECT_TRUE(takes(5, 0, kMinusOne));
  EXPECT_TRUE(takes(5, 0, 0));
  EXPECT_FALSE(takes(6, kMinusOne, 0));
  EXPECT_TRUE(takes(6, 0, kMinusOne));
  EXPECT_TRUE(takes(7, kMinusOne, 0));
  EXPECT_FALSE(takes(7, 0, kMinusOne));
}

TEST(ExecuteControlTest, BranchesGoBackward) {
  BareHart hart;
  hart.x(6) = 3;
  // loop: addi x6, x6, -1; bne x6, x0, loop
  hart.execute({as::addi(6, 6, -1), as::b_type(-4, 0, 6, 1)});
  static_cast<void>(hart.hart().run(4));
  EXPECT_EQ(hart.x(6), 0u);
  EXPECT_EQ(hart.state().pc, BareHart::kCode + 8);
}

TEST(ExecuteControlTest, JalLinksTheNextInstruction) {
  BareHart hart;
  hart.execute({as::jal(1, 0x200)});
  EXPECT_EQ(hart.x(1), BareHart::kCode + 4);
  EXPECT_EQ(hart.state().pc, BareHart::kCode + 0x200);
}

TEST(ExecuteControlTest, CompressedJalrLinksTwoBytesOn) {
  BareHart hart;
  hart.x(10) = BareHart::kCode + 0x200;
  hart.execute({0x00019502});  // c.jalr a0; c.nop
  EXPECT_EQ(hart.x(1), BareHart::kCode + 2);
}

TEST(ExecuteControlTest, JalrClearsTheLowestBit) {
  BareHart hart;
  hart.x(6) = BareHart::kCode + 0x101;
  hart.execute({as::i_type(0x10, 6, 0, 6, 0x67)});
  EXPECT_EQ(hart.state().pc, BareHart::kCode + 0x110);
  EXPECT_EQ(hart.x(6), BareHart::kCode + 4);  // rd = rs1: the target is computed first
}

TEST(ExecuteControlTest, AJumpIntoNothingFaultsAtItsTarget) {
  BareHart hart;
  hart.x(6) = 0x1000;
  hart.execute({as::i_type(0, 6, 0, 1, 0x67), as::kNop});
  EXPECT_EQ(hart.state().csrs.mcause, 1u);
  EXPECT_EQ(hart.state().csrs.mepc, 0x1000u);
  EXPECT_EQ(hart.state().csrs.mtval, 0x1000u);
  EXPECT_EQ(hart.x(1), BareHart::kCode + 4);
}

TEST(ExecuteControlTest, AnInstructionThatStraddlesTheEndOfRamFaultsAtItsSecondHalf) {
  BareHart hart;
  hart.poke<std::uint16_t>(BareHart::kEnd - 2, 0x0013);
  hart.state().pc = BareHart::kEnd - 2;
  static_cast<void>(hart.hart().run(1));
  EXPECT_EQ(hart.state().csrs.mcause, 1u);
  EXPECT_EQ(hart.state().csrs.mepc, BareHart::kEnd - 2);
  EXPECT_EQ(hart.state().csrs.mtval, BareHart::kEnd);
}

TEST(ExecuteControlTest, AnInstructionMayStraddleTwoPages) {
  BareHart hart;
  hart.poke<std::uint16_t>(BareHart::kCode + 0xffe, 0x0293);  // addi x5, x0, 0x7ff
  hart.poke<std::uint16_t>(BareHart::kCode + 0x1000, 0x7ff0);
  hart.state().pc = BareHart::kCode + 0xffe;
  static_cast<void>(hart.hart().run(1));
  EXPECT_EQ(hart.x(5), 0x7ffu);
}

}  // namespace
}  // namespace vmrun
