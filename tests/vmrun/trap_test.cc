#include "tools/vmrun/trap.h"

#include <gtest/gtest.h>

#include "tests/vmrun/assembler.h"
#include "tests/vmrun/bare_hart.h"
#include "tools/vmrun/trap_watch.h"

namespace vmrun {
namespace {

namespace as = assembler;
constexpr std::uint64_t kInterruptBit = std::uint64_t{1} << 63;

TEST(TrapTest, AnExceptionStacksInterruptEnableAndPrivilege) {
  HartState hart;
  hart.pc = 0x1234;
  hart.csrs.mstatus = kMstatusMie;
  hart.csrs.mtvec = 0x8000'0001;
  hart.privilege = Privilege::kUser;
  enter_exception(hart, Cause::kLoadAccess, 0x99);
  EXPECT_EQ(hart.pc, 0x8000'0000u);  // exceptions are never vectored
  EXPECT_EQ(hart.csrs.mepc, 0x1234u);
  EXPECT_EQ(hart.csrs.mcause, 5u);
  EXPECT_EQ(hart.csrs.mtval, 0x99u);
  EXPECT_EQ(hart.csrs.mstatus, kMstatusMpie);  // MPP = U, MIE clear
  EXPECT_EQ(hart.privilege, Privilege::kMachine);
}

TEST(TrapTest, ReturningUndoesIt) {
  HartState hart;
  hart.csrs.mepc = 0x1234;
  hart.csrs.mstatus = kMstatusMpie | kMstatusMprv;
  return_from_machine_trap(hart);
  EXPECT_EQ(hart.pc, 0x1234u);
  EXPECT_EQ(hart.privilege, Privilege::kUser);
  // MIE restored, MPIE set, MPP = U, MPRV cleared by leaving M-mode.
  EXPECT_EQ(hart.csrs.mstatus, kMstatusMie | kMstatusMpie);
}

TEST(TrapTest, ReturningToMachineModeKeepsMprv) {
  HartState hart;
  hart.csrs.mstatus = kMstatusMpp | kMstatusMprv;
  return_from_machine_trap(hart);
  EXPECT_EQ(hart.privilege, Privilege::kMachine);
  EXPECT_EQ(hart.csrs.mstatus, kMstatusMprv | kMstatusMpie);
}

TEST(TrapTest, ExternalComesBeforeSoftwareBeforeTimer) {
  HartState hart;
  hart.csrs.mie = kInterruptMask;
  hart.csrs.mstatus |= kMstatusMie;
  EXPECT_EQ(takeable_interrupt(hart), std::nullopt);
  hart.pins.raise(Interrupt::kTimer);
  EXPECT_EQ(takeable_interrupt(hart), Interrupt::kTimer);
  hart.pins.raise(Interrupt::kSoftware);
  EXPECT_EQ(takeable_interrupt(hart), Interrupt::kSoftware);
  hart.pins.raise(Interrupt::kExternal);
  EXPECT_EQ(takeable_interrupt(hart), Interrupt::kExternal);
  hart.csrs.mie = mask_of(Interrupt::kTimer);
  EXPECT_EQ(takeable_interrupt(hart), Interrupt::kTimer);
}

TEST(TrapTest, MieCountsInMachineModeOnly) {
  HartState hart;
  hart.csrs.mie = kInterruptMask;
  hart.pins.raise(Interrupt::kTimer);
  EXPECT_EQ(takeable_interrupt(hart), std::nullopt);
  EXPECT_TRUE(has_wakeup(hart));
  hart.privilege = Privilege::kUser;
  EXPECT_EQ(takeable_interrupt(hart), Interrupt::kTimer);
}

TEST(TrapTest, VectoredInterruptsGoToTheirSlot) {
  HartState hart;
  hart.csrs.mtvec = 0x8000'0001;
  enter_interrupt(hart, Interrupt::kExternal);
  EXPECT_EQ(hart.pc, 0x8000'0000u + 4 * 11);
  EXPECT_EQ(hart.csrs.mcause, kInterruptBit | 11);
  hart.csrs.mtvec = 0x8000'0000;
  enter_interrupt(hart, Interrupt::kTimer);
  EXPECT_EQ(hart.pc, 0x8000'0000u);
}

TEST(TrapTest, SupervisorTrapsStackTheirOwnBits) {
  HartState hart;
  hart.pc = 0x1234;
  hart.csrs.medeleg = 1u << 8;
  hart.csrs.mstatus = kMstatusSie | kMstatusMie;
  hart.csrs.stvec = 0x8000'0000;
  hart.privilege = Privilege::kUser;
  enter_exception(hart, Cause::kEcallUser, 7);
  EXPECT_EQ(hart.pc, 0x8000'0000u);
  EXPECT_EQ(hart.csrs.sepc, 0x1234u);
  EXPECT_EQ(hart.csrs.scause, 8u);
  EXPECT_EQ(hart.csrs.stval, 7u);
  EXPECT_EQ(hart.csrs.mstatus, kMstatusSpie | kMstatusMie);  // SPP = U, SIE clear
  EXPECT_EQ(hart.privilege, Privilege::kSupervisor);
  hart.csrs.mstatus |= kMstatusMprv;
  return_from_supervisor_trap(hart);
  EXPECT_EQ(hart.privilege, Privilege::kUser);
  EXPECT_EQ(hart.pc, 0x1234u);
  EXPECT_EQ(hart.csrs.mstatus, kMstatusSie | kMstatusSpie | kMstatusMie);
}

TEST(TrapTest, MachineModeKeepsItsTrapsAndReturnsToSupervisorMode) {
  HartState hart;
  hart.csrs.medeleg = 1u << 2;
  enter_exception(hart, Cause::kIllegalInstruction, 0);
  EXPECT_EQ(hart.csrs.mcause, 2u);
  EXPECT_EQ(hart.csrs.scause, 0u);
  hart.csrs.mstatus = std::uint64_t{1} << 11;
  return_from_machine_trap(hart);
  EXPECT_EQ(hart.privilege, Privilege::kSupervisor);
}

TEST(TrapTest, DelegatedInterruptsWaitForSupervisorMode) {
  HartState hart;
  hart.csrs.mie = kInterruptMask;
  hart.csrs.mideleg = kSupervisorInterrupts;
  hart.csrs.mstatus = kMstatusMie | kMstatusSie;
  hart.pins.raise(Interrupt::kSupervisorExternal);
  EXPECT_EQ(takeable_interrupt(hart), std::nullopt);  // in M-mode
  hart.privilege = Privilege::kSupervisor;
  EXPECT_EQ(takeable_interrupt(hart), Interrupt::kSupervisorExternal);
  hart.csrs.mstatus = 0;
  EXPECT_EQ(takeable_interrupt(hart), std::nullopt);
  hart.privilege = Privilege::kUser;
  EXPECT_EQ(takeable_interrupt(hart), Interrupt::kSupervisorExternal);
  hart.pins.raise(Interrupt::kTimer);
  EXPECT_EQ(takeable_interrupt(hart), Interrupt::kTimer);
  hart.csrs.mie = kSupervisorInterrupts;
  hart.csrs.stvec = 0x8000'0001;
  enter_interrupt(hart, Interrupt::kSupervisorExternal);
  EXPECT_EQ(hart.pc, 0x8000'0000u + 4 * 9);
  EXPECT_EQ(hart.csrs.scause, kInterruptBit | 9);
}

struct Exception {
  std::uint32_t encoding;
  std::uint64_t cause, tval;
};

TEST(TrapTest, InstructionsTrapWithTheirCause) {
  for (const Exception& want :
       {Exception{as::kEcall, 11, 0}, Exception{as::kEbreak, 3, BareHart::kCode + 4},
        Exception{0xffffffff, 2, 0xffffffff}, Exception{0x00010000, 2, 0},
        Exception{0x10200173, 2, 0x10200173}}) {
    BareHart hart;
    hart.execute({as::kNop, want.encoding, as::kNop});
    EXPECT_EQ(hart.state().csrs.mcause, want.cause);
    EXPECT_EQ(hart.state().csrs.mtval, want.tval);
    EXPECT_EQ(hart.state().csrs.mepc, BareHart::kCode + 4);
  }
}

struct UserHart : BareHart {
  UserHart() {
    state().privilege = Privilege::kUser;
    open_pmp();
  }
};

TEST(TrapTest, UserModeMayNotUseMachineInstructions) {
  for (const std::uint32_t encoding : {as::kMret, as::csrrs(5, 0x300, 0), as::csrrw(0, 0x340, 5)}) {
    UserHart hart;
    hart.execute({encoding, as::kNop});
    EXPECT_EQ(hart.state().csrs.mcause, 2u);
    EXPECT_EQ(hart.state().csrs.mtval, encoding);
    EXPECT_EQ(hart.state().privilege, Privilege::kMachine);
    EXPECT_EQ(hart.state().csrs.mstatus & kMstatusMpp, 0u);
  }
}

TEST(TrapTest, AUserCallHasItsOwnCause) {
  UserHart hart;
  hart.execute({as::kEcall, as::kNop});
  EXPECT_EQ(hart.state().csrs.mcause, 8u);
  UserHart supervisor;
  supervisor.state().privilege = Privilege::kSupervisor;
  supervisor.execute({as::kEcall, as::kNop});
  EXPECT_EQ(supervisor.state().csrs.mcause, 9u);
}

TEST(TrapTest, SupervisorModeLosesWhatMstatusTakesAway) {
  constexpr std::uint32_t kSret = 0x10200073, kSfence = 0x12000073, kReadSatp = 0x180022f3;
  for (const auto& [encoding, bit] :
       {std::pair{kSret, kMstatusTsr}, std::pair{kSfence, kMstatusTvm},
        std::pair{kReadSatp, kMstatusTvm}, std::pair{as::kWfi, kMstatusTw}}) {
    for (const std::uint64_t mstatus : {bit, std::uint64_t{0}}) {
      UserHart hart;
      hart.state().privilege = Privilege::kSupervisor;
      hart.state().csrs.sepc = BareHart::kCode + 4;
      hart.state().csrs.mstatus = mstatus;
      hart.execute({encoding, as::kNop});
      EXPECT_EQ(hart.state().csrs.mcause, mstatus == 0 ? 0u : 2u) << std::hex << encoding;
    }
  }
  for (const std::uint32_t encoding : {kSret, kSfence, kReadSatp}) {
    UserHart hart;
    hart.execute({encoding, as::kNop});
    EXPECT_EQ(hart.state().csrs.mcause, 2u) << std::hex << encoding;
  }
}

TEST(TrapTest, UserModeNeverWaits) {
  for (const std::uint64_t mstatus : {std::uint64_t{0}, kMstatusTw}) {
    UserHart hart;
    hart.state().csrs.mstatus = mstatus;
    hart.execute({as::kWfi, as::kNop});
    EXPECT_EQ(hart.state().csrs.mcause, 2u);
    EXPECT_EQ(hart.state().csrs.mtval, as::kWfi);
  }
}

TEST(TrapTest, SupervisorInterruptsAreTakenBeforeTheNextBlock) {
  UserHart hart;
  hart.state().privilege = Privilege::kSupervisor;
  hart.state().csrs.mie = hart.state().csrs.mideleg = kSupervisorInterrupts;
  hart.state().csrs.mstatus = kMstatusSie;
  hart.state().csrs.stvec = BareHart::kHandler;
  hart.state().pins.raise(Interrupt::kSupervisorExternal);
  hart.execute({as::kNop});
  EXPECT_EQ(hart.state().csrs.scause, kInterruptBit | 9);
  EXPECT_EQ(hart.state().csrs.sepc, BareHart::kCode);
  EXPECT_EQ(hart.state().pc, BareHart::kHandler);
  EXPECT_EQ(hart.state().privilege, Privilege::kSupervisor);
}

// Of S-mode's own: external before software before timer, as in M-mode.
TEST(TrapTest, SupervisorInterruptsHaveTheirOrder) {
  HartState hart;
  hart.privilege = Privilege::kUser;
  hart.csrs.mie = hart.csrs.mideleg = kSupervisorInterrupts;
  for (const Interrupt next : {Interrupt::kSupervisorTimer, Interrupt::kSupervisorSoftware,
                               Interrupt::kSupervisorExternal}) {
    hart.csrs.mip |= mask_of(next);
    EXPECT_EQ(takeable_interrupt(hart), next);
  }
}

// A kernel whose programs make each call at the same place is not lost.
TEST(TrapTest, AReturnToUserModeBeginsTheWatchAnew) {
  constexpr std::uint32_t kSret = 0x10200073;
  UserHart hart;
  hart.state().csrs.medeleg = 1u << 8;
  hart.state().csrs.stvec = BareHart::kHandler;
  hart.poke<std::uint32_t>(BareHart::kHandler, kSret);  // to the call again
  hart.execute({as::kEcall});
  EXPECT_EQ(hart.hart().run(3 * kTrapLoopLimit), StopReason::kBudget);
  EXPECT_EQ(hart.state().csrs.scause, 8u);
}

TEST(TrapWatchTest, GivesUpOnlyOnARepeatedPlace) {
  TrapWatch watch;
  watch.note_exception({.pc = 8, .cause = Cause::kLoadAccess, .tval = 5, .retired = 3});
  for (int i = 0; i < kTrapLoopLimit; ++i) {
    EXPECT_FALSE(watch.note_exception({.pc = 16, .cause = Cause::kIllegalInstruction}));
  }
  EXPECT_TRUE(watch.note_exception({.pc = 16, .cause = Cause::kIllegalInstruction}));
  EXPECT_EQ(watch.first().pc, 8u);
  EXPECT_EQ(watch.first().tval, 5u);
  EXPECT_EQ(watch.last_pc(), 16u);
}

TEST(TrapWatchTest, AReturnBeginsAnew) {
  TrapWatch watch;
  for (int i = 0; i < 10 * kTrapLoopLimit; ++i) {
    EXPECT_FALSE(watch.note_exception({.pc = 16, .cause = Cause::kEcallUser}));
    watch.note_return();
  }
}

}  // namespace
}  // namespace vmrun
