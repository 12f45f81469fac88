#include "tools/vmrun/hart.h"

#include <gtest/gtest.h>

#include "tests/vmrun/assembler.h"
#include "tests/vmrun/bare_hart.h"

namespace vmrun {
namespace {

namespace as = assembler;

void enable(BareHart& hart, Interrupt interrupt) {
  hart.state().csrs.mie |= mask_of(interrupt);
  hart.state().csrs.mstatus |= kMstatusMie;
}

TEST(HartTest, StopsSoonAfterItsBudget) {
  BareHart hart;
  hart.program({{as::addi(5, 5, 1), as::jal(0, -4)}});
  EXPECT_EQ(hart.hart().run(1001), StopReason::kBudget);
  EXPECT_EQ(hart.state().clock.retired(), 1002u);
  EXPECT_EQ(hart.x(5), 501u);
}

TEST(HartTest, LongStraightCodeIsCutIntoBlocks) {
  BareHart hart;
  std::vector<std::uint32_t> code(3000, as::addi(5, 5, 1));
  hart.program(code);
  EXPECT_EQ(hart.hart().run(1), StopReason::kBudget);
  EXPECT_LE(hart.state().clock.retired(), BlockCache::kMaxBlockOps);
  static_cast<void>(hart.hart().run(2000));
  EXPECT_EQ(hart.x(5), hart.state().clock.retired());
  EXPECT_EQ(hart.state().pc, BareHart::kCode + 4 * hart.x(5));
}

TEST(HartTest, YieldEndsTheRun) {
  BareHart hart;
  hart.program({{as::jal(0, 0)}});
  hart.hart().yield();
  EXPECT_EQ(hart.hart().run(1000), StopReason::kYield);
  EXPECT_EQ(hart.state().clock.retired(), 0u);
  EXPECT_EQ(hart.hart().run(1000), StopReason::kBudget);
}

TEST(HartTest, InterruptsAreTakenBeforeTheNextBlock) {
  BareHart hart;
  hart.program({{as::kNop, as::jal(0, -4)}});
  enable(hart, Interrupt::kTimer);
  static_cast<void>(hart.hart().run(10));
  hart.state().pins.raise(Interrupt::kTimer);
  static_cast<void>(hart.hart().run(1));
  EXPECT_EQ(hart.state().csrs.mcause, (std::uint64_t{1} << 63) | 7);
  EXPECT_EQ(hart.state().csrs.mepc, BareHart::kCode);
  EXPECT_EQ(hart.state().pc, BareHart::kHandler);
}

TEST(HartTest, EnablingInterruptsTakesAPendingOneAtOnce) {
  BareHart hart;
  hart.state().csrs.mie = mask_of(Interrupt::kSoftware);
  hart.state().pins.raise(Interrupt::kSoftware);
  hart.execute({as::kNop, as::csr(6, 0, 8, 0x300), as::addi(5, 0, 1)});  // csrsi mstatus, MIE
  EXPECT_EQ(hart.state().csrs.mepc, BareHart::kCode + 8);
  EXPECT_EQ(hart.x(5), 0u);
}

TEST(HartTest, MretReturnsToTheInterruptedInstruction) {
  BareHart hart;
  hart.program({{as::kEcall, as::kNop}});
  hart.program({{as::addi(6, 6, 1), as::csrrs(7, 0x341, 0), as::addi(7, 7, 4),
                 as::csrrw(0, 0x341, 7), as::kMret}},
               BareHart::kHandler);
  static_cast<void>(hart.hart().run(6));
  EXPECT_EQ(hart.x(6), 1u);
  EXPECT_GE(hart.state().pc, BareHart::kCode + 8);
}

TEST(HartTest, WfiWaitsAndGoesOnBehindItself) {
  BareHart hart;
  hart.state().csrs.mie = mask_of(Interrupt::kTimer);
  hart.program({{as::kNop, as::kWfi, as::addi(5, 0, 1), as::jal(0, 0)}});
  EXPECT_EQ(hart.hart().run(1000), StopReason::kWait);
  EXPECT_EQ(hart.state().clock.retired(), 2u);
  hart.state().pins.raise(Interrupt::kTimer);  // disabled in mstatus: no trap
  EXPECT_EQ(hart.hart().run(2), StopReason::kBudget);
  EXPECT_EQ(hart.x(5), 1u);
}

TEST(HartTest, WfiWithAPendingInterruptDoesNotWait) {
  BareHart hart;
  hart.state().csrs.mie = mask_of(Interrupt::kTimer);
  hart.state().pins.raise(Interrupt::kTimer);
  hart.program({{as::kWfi, as::addi(5, 0, 1), as::jal(0, 0)}});
  EXPECT_EQ(hart.hart().run(3), StopReason::kBudget);
  EXPECT_EQ(hart.x(5), 1u);
}

// The code at +0x10 is executed, overwritten by the guest, and executed again.
void run_self_modifying(BareHart& hart, std::uint32_t fence) {
  hart.x(6) = BareHart::kCode + 0x10;
  hart.x(7) = as::addi(5, 5, 16);
  hart.program({{as::addi(8, 8, 1), as::jal(1, 0xc), as::kNop, as::kNop,  //
                 as::addi(5, 5, 1), as::store(2, 7, 6, 0), fence, as::b_type(-28, 0, 9, 0)}});
  static_cast<void>(hart.hart().run(12));
}

TEST(HartTest, FenceIShowsTheGuestItsOwnNewCode) {
  BareHart hart;
  run_self_modifying(hart, as::kFenceI);
  EXPECT_EQ(hart.x(8), 2u);
  EXPECT_EQ(hart.x(5), 17u);
}

TEST(HartTest, ANewMapShowsNewCode) {
  BareHart hart;
  hart.execute({as::addi(5, 0, 1)});
  hart.program({{as::addi(5, 0, 2)}});
  const auto range = vm_mem::GuestRange::make(vm_mem::GuestAddress{0x1000}, 4096);
  ASSERT_TRUE(hart.memory().add_ram(*range).ok());
  hart.state().pc = BareHart::kCode;
  static_cast<void>(hart.hart().run(1));
  EXPECT_EQ(hart.x(5), 2u);
}

TEST(HartTest, AHandlerThatTrapsForEverIsATrapLoop) {
  BareHart hart;
  hart.state().csrs.mtvec = 0;
  hart.program({{as::kNop, 0}});
  EXPECT_EQ(hart.hart().run(1'000'000), StopReason::kTrapLoop);
  EXPECT_EQ(hart.hart().trap_watch().first().pc, BareHart::kCode + 4);
  EXPECT_EQ(hart.hart().trap_watch().first().retired, 1u);
  EXPECT_EQ(hart.hart().trap_watch().last_pc(), 0u);
}

}  // namespace
}  // namespace vmrun
