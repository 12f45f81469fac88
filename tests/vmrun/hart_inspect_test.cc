// Breakpoints and single steps, in every way that a hart can run.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/vmrun/assembler.h"
#include "tests/vmrun/each_cpu.h"

namespace vmrun {
namespace {

namespace as = assembler;
constexpr std::uint64_t kBase = 0x8000'0000;
constexpr std::uint64_t kMany = 100'000;

class HartInspectTest : public EachCpuTest {
 protected:
  // What comes behind the code is a jump to itself.
  void boot(std::vector<std::uint32_t> code, unsigned harts = 1) {
    code.push_back(as::jal(0, 0));
    EachCpuTest::boot(code, harts);
  }
  HartState& state() { return machine_->hart().state(); }
  std::uint64_t x(unsigned index) { return state().x[index]; }
  StopReason step() { return machine_->step(0, StepInterrupts::kHeld); }
};

// A loop that counts a0 up, and a3 after it; the last three instructions are one block.
const std::vector<std::uint32_t> kLoop = {as::addi(10, 0, 0), as::addi(10, 10, 1),
                                          as::addi(13, 10, 0), as::jal(0, -8)};

TEST_P(HartInspectTest, StopsBeforeABreakpointInTheMiddleOfABlock) {
  boot(kLoop);
  if (!machine_) return;
  machine_->set_breakpoints({kBase + 8});
  for (std::uint64_t round = 1; round < 5; ++round) {
    ASSERT_EQ(machine_->run(kMany), StopReason::kBreakpoint);
    EXPECT_EQ(state().pc, kBase + 8);
    EXPECT_EQ(x(10), round);
    EXPECT_EQ(x(13), round - 1);
    EXPECT_EQ(state().clock.retired(), 2 + 3 * (round - 1));
    EXPECT_EQ(machine_->run(kMany), StopReason::kBreakpoint) << "it is not run past";
    EXPECT_EQ(step(), StopReason::kBudget);
    EXPECT_EQ(state().pc, kBase + 12);
  }
}

TEST_P(HartInspectTest, ABreakpointSetLaterCutsBlocksThatHaveRun) {
  boot(kLoop);
  if (!machine_) return;
  ASSERT_EQ(machine_->run(kMany), StopReason::kBudget);
  machine_->set_breakpoints({kBase + 12});
  ASSERT_EQ(machine_->run(kMany), StopReason::kBreakpoint);
  EXPECT_EQ(state().pc, kBase + 12);
  EXPECT_EQ(x(10), x(13));
  machine_->set_breakpoints({});
  EXPECT_EQ(machine_->run(kMany), StopReason::kBudget);
}

TEST_P(HartInspectTest, BreakpointsAreNotInMemory) {
  boot(kLoop);
  if (!machine_) return;
  machine_->set_breakpoints({kBase + 8});
  ASSERT_EQ(machine_->run(kMany), StopReason::kBreakpoint);
  std::uint32_t word = 0;
  ASSERT_TRUE(machine_->memory().load(vm_mem::GuestAddress{kBase + 8}, word).ok());
  EXPECT_EQ(word, kLoop[2]);
}

TEST_P(HartInspectTest, AStepIsOneInstructionAndEntersItsException) {
  // The handler is at 16.
  boot({as::u_type(0, 5, 0x17), as::addi(5, 5, 16), as::csrrw(0, 0x305, 5), as::kEcall});
  if (!machine_) return;
  for (std::uint64_t done = 1; done <= 3; ++done) {
    ASSERT_EQ(step(), StopReason::kBudget);
    EXPECT_EQ(state().pc, kBase + 4 * done);
    EXPECT_EQ(state().clock.retired(), done);
  }
  EXPECT_EQ(step(), StopReason::kBudget);
  EXPECT_EQ(state().pc, kBase + 16);
  EXPECT_EQ(state().csrs.mepc, kBase + 12);
  EXPECT_EQ(state().clock.retired(), 3u);
}

TEST_P(HartInspectTest, ABreakpointStopsAtTheBeginningOfAHandler) {
  boot({as::u_type(0, 5, 0x17), as::addi(5, 5, 16), as::csrrw(0, 0x305, 5), as::kEcall});
  if (!machine_) return;
  machine_->set_breakpoints({kBase + 16});
  EXPECT_EQ(machine_->run(kMany), StopReason::kBreakpoint);
  EXPECT_EQ(state().pc, kBase + 16);
  EXPECT_EQ(state().csrs.mcause, 11u);
}

TEST_P(HartInspectTest, StepsHoldInterruptsUnlessTheyAreToBeTaken) {
  boot({as::kNop, as::kNop, as::kNop});
  if (!machine_) return;
  state().csrs.mtvec = kBase + 0x100;
  state().csrs.mie = mask_of(Interrupt::kSupervisorSoftware);
  state().csrs.mip = mask_of(Interrupt::kSupervisorSoftware);
  state().csrs.mstatus |= kMstatusMie;
  ASSERT_EQ(step(), StopReason::kBudget);
  EXPECT_EQ(state().pc, kBase + 4);
  machine_->memory().store(vm_mem::GuestAddress{kBase + 0x100}, as::kNop);
  ASSERT_EQ(machine_->step(0, StepInterrupts::kTaken), StopReason::kBudget);
  EXPECT_EQ(state().pc, kBase + 0x104);
  EXPECT_EQ(state().csrs.mepc, kBase + 4);
}

TEST_P(HartInspectTest, WaitingIsNotSteppedInto) {
  boot({as::kWfi, as::kNop});
  if (!machine_) return;
  EXPECT_EQ(step(), StopReason::kWait);
  EXPECT_EQ(state().pc, kBase + 4);
  EXPECT_EQ(step(), StopReason::kBudget);
}

TEST_P(HartInspectTest, NoHartStarvesBehindAnothersBreakpoint) {
  boot(kLoop, 2);
  if (!machine_) return;
  machine_->set_breakpoints({kBase + 8});
  ASSERT_EQ(machine_->run(kMany), StopReason::kBreakpoint);
  EXPECT_EQ(state().number, 0u);
  ASSERT_EQ(machine_->run(kMany), StopReason::kBreakpoint);
  EXPECT_EQ(state().number, 1u);
}

TEST_P(HartInspectTest, HartsThatAreHeldDoNotRun) {
  boot(kLoop, 2);
  if (!machine_) return;
  machine_->let_run(HartSet{2});
  ASSERT_EQ(machine_->run(kMany), StopReason::kBudget);
  EXPECT_EQ(machine_->hart(0).state().clock.retired(), 0u);
  EXPECT_GE(machine_->hart(1).state().clock.retired(), kMany);
}

INSTANTIATE_TEST_SUITE_P(
    Cpus, HartInspectTest,
    testing::Values(Cpu{"interpreter", std::nullopt}, Cpu{"jit", JitOptions{.interpreted_runs = 0}},
                    Cpu{"fastmem",
                        JitOptions{.interpreted_runs = 0, .memory_mode = MemoryMode::kFastmem}}),
    [](const auto& cpu) { return std::string(cpu.param.name); });

}  // namespace
}  // namespace vmrun
