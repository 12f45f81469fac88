#include "tools/vmrun/gdb_stub.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <ostream>
#include <random>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "tests/vmrun/assembler.h"
#include "tests/vmrun/each_cpu.h"
#include "tools/vmrun/gdb_registers.h"
#include "tools/vmrun/layout.h"

namespace vmrun {
namespace {

namespace as = assembler;
using testing::HasSubstr;
using testing::StartsWith;
constexpr std::uint64_t kBase = 0x8000'0000;
constexpr std::uint64_t kMany = 100'000;

// A loop that counts a0 up; then a jump to itself, which is not reached.
const std::vector<std::uint32_t> kLoop = {as::addi(10, 0, 0), as::addi(10, 10, 1),
                                          as::addi(13, 10, 0), as::jal(0, -8), as::jal(0, 0)};

std::string fmt_hex(std::uint64_t value) { return fmt::format("{:x}", value); }

class GdbStubTest : public EachCpuTest {
 protected:
  void boot(const std::vector<std::uint32_t>& code, unsigned harts = 1) {
    stub_.reset();
    EachCpuTest::boot(code, harts);
    if (machine_ != nullptr) stub_ = std::make_unique<GdbStub>(*machine_);
  }
  // What the stub says; "-": nothing.
  std::string say(std::string_view packet) { return stub_->answer(packet).value_or("-"); }
  std::string say_all(const std::vector<std::string>& packets) {
    std::string out;
    for (const std::string& packet : packets) out += say(packet);
    return out;
  }
  std::string monitor(std::string_view line) {
    return bytes_of_hex(say(fmt::format("qRcmd,{}", hex_of(line)))).value_or("no hex");
  }
  // Runs until a breakpoint, which is told.
  std::string run() {
    EXPECT_EQ(stub_->state(), GdbState::kRunning);
    EXPECT_EQ(machine_->run(kMany), StopReason::kBreakpoint);
    return stub_->note_breakpoint();
  }
  HartState& state() { return machine_->hart(0).state(); }

  std::unique_ptr<GdbStub> stub_;
};

TEST_P(GdbStubTest, SaysWhatItCanDo) {
  boot(kLoop);
  if (!stub_) return;
  EXPECT_THAT(say("qSupported:multiprocess+;swbreak+;xmlRegisters=i386"),
              HasSubstr("PacketSize=4000;qXfer:features:read+"));
  EXPECT_EQ(say("vCont?"), "vCont;c;C;s;S");
  EXPECT_EQ(say("?"), "T05thread:1;");
  EXPECT_EQ(say("qAttached"), "1");
  EXPECT_EQ(say_all({"qfThreadInfo", "qsThreadInfo", "qC"}), "m1lQC1");
  EXPECT_EQ(bytes_of_hex(say("qThreadExtraInfo,1")), "hart 0, M-mode");
  EXPECT_FALSE(stub_->wants_no_acks());
  EXPECT_EQ(say("QStartNoAckMode"), "OK");
  EXPECT_TRUE(stub_->wants_no_acks());
  for (const char* unknown : {"", "vMustReplyEmpty", "qCRC:0,1", "qSymbol::", "!", "Z2,0,4",
                              "Z4,0,4", "vContX", "qXfer:memory-map:read::0,10", "\xff"}) {
    EXPECT_EQ(say(unknown), "") << unknown;
  }
}

TEST_P(GdbStubTest, TheDescriptionComesInPieces) {
  boot(kLoop);
  if (!stub_) return;
  std::string all;
  for (std::string part = "m"; part[0] == 'm';) {
    part = say(fmt::format("qXfer:features:read:target.xml:{:x},1ff", all.size()));
    ASSERT_FALSE(part.empty());
    all += gdb_unescape(part.substr(1)).value();
  }
  EXPECT_EQ(all, gdb_target_description());
  for (const char* name : {"\"zero\"", "\"pc\"", "\"ft11\"", "\"fcsr\"", "\"satp\"", "\"priv\""}) {
    EXPECT_THAT(all, HasSubstr(name));
  }
  EXPECT_EQ(say("qXfer:features:read:target.xml:ffffff,10"), "E16");
}

TEST_P(GdbStubTest, RegistersAreReadAndWritten) {
  boot(kLoop);
  if (!stub_) return;
  state().x[5] = 0x0123'4567'89ab'cdef;
  EXPECT_EQ(say("p5"), "efcdab8967452301");
  EXPECT_EQ(say("p20"), "0000008000000000");
  EXPECT_EQ(say_all({"P21=0807060504030201", "p21"}), "OK0807060504030201");
  EXPECT_EQ(state().f[0], 0x0102'0304'0506'0708u);
  const std::string all = say("g");
  EXPECT_EQ(all.size(), 65 * 16u);
  EXPECT_EQ(all.substr(5 * 16, 16), "efcdab8967452301");
  EXPECT_EQ(say_all({"P5=0000000000000000", fmt::format("G{}", all)}), "OKOK");
  EXPECT_EQ(state().x[5], 0x0123'4567'89ab'cdefu);
  EXPECT_EQ(say_all({"P0=0100000000000000", "p0"}), "OK0000000000000000");
  for (const char* wrong : {"pffff", "P1100=0000000000000000", "P20=0100000000000000"}) {
    EXPECT_EQ(say(wrong), "E02") << wrong;
  }
  for (const char* wrong : {"p", "p5x", "P5", "P5=00", "P5=000000000000000g", "G00"}) {
    EXPECT_EQ(say(wrong), "E16") << wrong;
  }
}

TEST_P(GdbStubTest, SystemRegistersDoNotAskForPrivilege) {
  boot(kLoop);
  if (!stub_) return;
  state().privilege = Privilege::kUser;
  const std::string mscratch = fmt_hex(kGdbCsr + 0x340);
  EXPECT_EQ(say_all({fmt::format("P{}=ff00000000000000", mscratch), fmt::format("p{}", mscratch)}),
            "OKff00000000000000");
  EXPECT_EQ(state().privilege, Privilege::kUser);
  // F is off: its registers are there nonetheless, and it stays off.
  EXPECT_EQ(say_all({"P44=e100000000000000", "p42"}), "OK0100000000000000");
  EXPECT_EQ(state().csrs.frm, 7);
  EXPECT_EQ(state().csrs.mstatus & kMstatusFs, 0u);
  const std::string minstret = fmt_hex(kGdbCsr + 0xb02);
  EXPECT_EQ(say_all({fmt::format("P{}=0500000000000000", minstret), fmt::format("p{}", minstret)}),
            "OK0500000000000000");
  const std::string priv = fmt_hex(kGdbPrivilege);
  EXPECT_EQ(say_all({fmt::format("P{}=0100000000000000", priv), fmt::format("p{}", priv)}),
            "OK0100000000000000");
  EXPECT_EQ(state().privilege, Privilege::kSupervisor);
  EXPECT_EQ(say(fmt::format("P{}=0200000000000000", priv)), "E02");
}

TEST_P(GdbStubTest, MemoryIsReadAndWritten) {
  boot(kLoop);
  if (!stub_) return;
  EXPECT_EQ(say("m80000004,4"), "13051500");
  EXPECT_EQ(say_all({"M80100000,3:0a0b0c", "m80100000,4"}), "OK0a0b0c00");
  EXPECT_EQ(say_all({"X80100001,2:}\x03z", "m80100000,4"}), "OK0a237a00");
  EXPECT_EQ(say("X80100001,0:"), "OK");
  EXPECT_EQ(say("m80100000,0"), "");
  // As much as there is, across pages too.
  EXPECT_EQ(say("m80fffffe,8").size(), 4u);
  EXPECT_EQ(say("m80100ffe,4").size(), 8u);
  for (const char* wrong : {"m81000000,1", "m0,1", "mffffffffffffffff,2", "M0,1:00", "X0,1:z"}) {
    EXPECT_EQ(say(wrong), "E0e") << wrong;
  }
  for (const char* wrong : {"m", "m,", "m1", "mg,1", "m80000000,x", "M80100000,2:00",
                            "M80100000,1:0", "M80100000,1:xx", "X80100000,1:ab", "X1"}) {
    EXPECT_EQ(say(wrong), "E16") << wrong;
  }
}

TEST_P(GdbStubTest, WrittenCodeIsRun) {
  boot(kLoop);
  if (!stub_) return;
  EXPECT_EQ(machine_->run(kMany), StopReason::kBudget);
  const std::uint64_t before = state().x[10];
  // addi a3, a0, 0 becomes a jump to itself.
  EXPECT_EQ(say("M80000008,4:6f000000"), "OK");
  EXPECT_EQ(machine_->run(kMany), StopReason::kBudget);
  EXPECT_EQ(state().pc, kBase + 8);
  EXPECT_LE(state().x[10], before + 1);
}

TEST_P(GdbStubTest, DevicesAreReachedOnlyWhereToldTo) {
  boot(kLoop);
  if (!stub_) return;
  const std::string status = fmt_hex(kUartBase + 5);
  EXPECT_EQ(say(fmt::format("m{},1", status)), "E0e");
  EXPECT_EQ(monitor("devices on"), "done\n");
  EXPECT_EQ(say(fmt::format("m{},1", status)), "60");
  EXPECT_EQ(
      say_all({fmt::format("M{:x},1:5a", kUartBase + 7), fmt::format("m{:x},1", kUartBase + 7)}),
      "OK5a");
  EXPECT_EQ(monitor("devices off"), "done\n");
  EXPECT_EQ(say(fmt::format("M{},1:00", status)), "E0e");
}

TEST_P(GdbStubTest, AddressesAreThoseOfTheHart) {
  boot(kLoop);
  if (!stub_) return;
  // One gigabyte at 0 shows 0x80000000, without A and D, for nobody to write or read.
  machine_->memory().store(vm_mem::GuestAddress{kBase + 0x1000},
                           std::uint64_t{kBase >> 12 << 10 | 0x9});
  state().csrs.satp = std::uint64_t{8} << 60 | (kBase + 0x1000) >> 12;
  EXPECT_EQ(say("m4,4"), "E0e") << "M-mode has no paging";
  state().privilege = Privilege::kUser;
  EXPECT_EQ(say("m4,4"), "13051500");
  EXPECT_EQ(say("M100000,1:77"), "OK");
  EXPECT_EQ(monitor("translate 0x100000"), "0x100000 is at physical 0x80100000\n");
  EXPECT_EQ(monitor("translate 40000000"), "0x40000000 is not mapped\n");
  EXPECT_EQ(say("m40000000,4"), "E0e");
  std::uint64_t entry = 0;
  EXPECT_TRUE(machine_->memory().load(vm_mem::GuestAddress{kBase + 0x1000}, entry).ok());
  EXPECT_EQ(entry, kBase >> 12 << 10 | 0x9) << "neither A nor D is set";
}

TEST_P(GdbStubTest, BreakpointsStopAndStepsGoOn) {
  boot(kLoop);
  if (!stub_) return;
  say("qSupported:swbreak+;hwbreak+");
  EXPECT_EQ(say_all({"Z0,80000008,4", "Z0,80000008,4"}), "OKOK");
  EXPECT_EQ(say("c"), "-");
  EXPECT_EQ(run(), "T05thread:1;swbreak:;");
  EXPECT_EQ(state().pc, kBase + 8);
  EXPECT_EQ(say("m80000008,4"), "93060500") << "as the guest sees it";
  EXPECT_EQ(say("s"), "T05thread:1;");
  EXPECT_EQ(state().pc, kBase + 12);
  EXPECT_EQ(say("vCont;c"), "-");
  EXPECT_EQ(run(), "T05thread:1;swbreak:;");
  EXPECT_EQ(state().x[10], 2u);
  EXPECT_EQ(say_all({"z0,80000008,4", "Z1,8000000c,4", "C05"}), "OKOK-");
  EXPECT_EQ(run(), "T05thread:1;hwbreak:;");
  EXPECT_EQ(say("?"), "T05thread:1;hwbreak:;");
  EXPECT_EQ(say_all({"z1,8000000c,4", "vCont;c:-1"}), "OK-");
  EXPECT_EQ(machine_->run(kMany), StopReason::kBudget);
  EXPECT_EQ(stub_->note_interrupt(), "T02thread:1;");
  EXPECT_EQ(say("s80000004"), "T05thread:1;");
  EXPECT_EQ(state().pc, kBase + 8);
  for (const char* wrong : {"Z0", "Z0,", "Z0,x", "z0", "vCont;x", "vCont;c:9", "vCont;",
                            "c8000000x", "s80000001", "S05;1x"}) {
    EXPECT_EQ(say(wrong), "E16") << wrong;
    EXPECT_EQ(stub_->state(), GdbState::kStopped);
  }
  EXPECT_EQ(say("Z0,80000009,4"), "E0c");
}

TEST_P(GdbStubTest, ThereAreNotAnyNumberOfBreakpoints) {
  boot(kLoop);
  if (!stub_) return;
  for (std::uint64_t i = 0; i < GdbTarget::kMostBreakpoints; ++i) {
    ASSERT_EQ(say(fmt::format("Z0,{:x},2", kBase + 0x100 + 2 * i)), "OK");
  }
  EXPECT_EQ(say("Z0,80000008,4"), "E0c");
  EXPECT_EQ(say("Z1,80000100,4"), "OK") << "of another kind";
}

TEST_P(GdbStubTest, TheEndOfTheGuestIsTold) {
  // lui t0, 0x100; lui t1, 0x5; addi t1, t1, 0x555; sw t1, 0(t0): power off.
  boot({0x001002B7, 0x00005337, 0x55530313, 0x0062A023});
  if (!stub_) return;
  for (int i = 0; i < 3; ++i) EXPECT_EQ(say("s"), "T05thread:1;");
  EXPECT_EQ(say("s"), "W00");
  boot(kLoop);
  EXPECT_EQ(say("c"), "-");
  EXPECT_EQ(stub_->note_end(1), "W01");
}

TEST_P(GdbStubTest, WhoDetachesLeavesNothingBehind) {
  boot(kLoop);
  if (!stub_) return;
  say("Z0,80000008,4");
  say("c");
  run();
  EXPECT_EQ(say("D"), "OK");
  EXPECT_EQ(stub_->state(), GdbState::kDetached);
  EXPECT_EQ(machine_->run(kMany), StopReason::kBudget);
  stub_->reset();
  EXPECT_EQ(say("k"), "-");
  EXPECT_EQ(stub_->state(), GdbState::kKilled);
}

TEST_P(GdbStubTest, HartsAreThreads) {
  boot(kLoop, 3);
  if (!stub_) return;
  EXPECT_EQ(say("qfThreadInfo"), "m1,2,3");
  EXPECT_EQ(say_all({"T3", "T4", "Hg2", "pa"}), "OKE03OK0100000000000000")
      << "a0 is the hart's number";
  EXPECT_EQ(say_all({"Hg4", "Hx1", "Hc-1", "Hg0"}), "E03E16OKOK");
  // One steps, the others rest, or move on by an instruction.
  EXPECT_EQ(say("vCont;s:2"), "T05thread:2;");
  EXPECT_EQ(machine_->hart(1).state().pc, kBase + 4);
  EXPECT_EQ(machine_->hart(0).state().pc, kBase);
  EXPECT_EQ(say("vCont;s:2;c"), "T05thread:2;");
  EXPECT_EQ(machine_->hart(1).state().pc, kBase + 8);
  EXPECT_EQ(machine_->hart(2).state().pc, kBase + 4);
  // Hart 2 stands at a breakpoint, which counts more than the step of another one.
  EXPECT_EQ(say_all({"Z0,80000004,4", "vCont;s:2;c:3"}), "OKT05thread:3;");
  EXPECT_EQ(say_all({"z0,80000004,4", "Z0,8000000c,4", "vCont;c:3"}), "OKOK-");
  EXPECT_EQ(run(), "T05thread:3;");
  EXPECT_EQ(machine_->hart(0).state().pc, kBase + 4);
  EXPECT_EQ(bytes_of_hex(say("qThreadExtraInfo,3")), "hart 2, M-mode");
  EXPECT_EQ(say("vCont;c"), "-");
  EXPECT_EQ(run(), "T05thread:1;") << "the next one, not the same again";
}

TEST_P(GdbStubTest, AHartThatIsWokenGoesOnWhileAnotherIsStepped) {
  boot({as::kWfi, as::addi(10, 10, 1), as::jal(0, -4)}, 2);
  if (!stub_) return;
  HartState& sleeper = machine_->hart(1).state();
  sleeper.csrs.mie = mask_of(Interrupt::kSoftware);
  EXPECT_EQ(machine_->run(kMany), StopReason::kWait);
  EXPECT_EQ(bytes_of_hex(say("qThreadExtraInfo,2")), "hart 1, M-mode, waiting");
  say("vCont;s:1;c");
  EXPECT_EQ(sleeper.pc, kBase + 4) << "nothing has come for it";
  sleeper.pins.raise(Interrupt::kSoftware);
  EXPECT_EQ(bytes_of_hex(say("qThreadExtraInfo,2")), "hart 1, M-mode");
  say("vCont;s:1;c");
  EXPECT_EQ(sleeper.pc, kBase + 8);
}

TEST_P(GdbStubTest, AHartThatWaitsGoesOnWhereItIsTold) {
  const std::vector<std::string> tellings = {"P20=0400008000000000", "", "c80000004"};
  for (const std::string& telling : tellings) {
    boot({as::kWfi, as::addi(10, 10, 1), as::jal(0, -4)});
    if (!stub_) return;
    EXPECT_EQ(machine_->run(kMany), StopReason::kWait);
    const std::string all = telling.empty() ? fmt::format("G{}", say("g")) : telling;
    if (say(all) == "OK") say("c");
    EXPECT_EQ(stub_->state(), GdbState::kRunning);
    EXPECT_EQ(machine_->run(kMany), StopReason::kBudget) << telling;
    EXPECT_GT(state().x[10], kMany / 4);
  }
}

TEST_P(GdbStubTest, MonitorHelps) {
  boot(kLoop);
  if (!stub_) return;
  EXPECT_THAT(monitor("help"), HasSubstr("translate ADDRESS"));
  EXPECT_EQ(monitor("info"), "hart 0: M-mode, pc 0x80000000, 0 instructions\n");
  EXPECT_THAT(monitor("bogus"), StartsWith("unknown"));
  EXPECT_THAT(monitor("translate x"), HasSubstr("needed"));
  EXPECT_EQ(say("qRcmd,6"), "E16");
  EXPECT_EQ(say("qRcmd,"), hex_of("unknown; \"monitor help\" lists the commands\n"));
}

TEST_P(GdbStubTest, InterruptsAreHeldOverStepsUnlessToldOtherwise) {
  boot(kLoop);
  if (!stub_) return;
  state().csrs.mtvec = kBase + 16;
  state().csrs.mie = state().csrs.mip = mask_of(Interrupt::kSupervisorSoftware);
  state().csrs.mstatus |= kMstatusMie;
  say("s");
  EXPECT_EQ(state().pc, kBase + 4);
  EXPECT_EQ(monitor("interrupts take"), "done\n");
  say("s");
  EXPECT_EQ(state().pc, kBase + 16);
  EXPECT_EQ(state().csrs.mepc, kBase + 4);
}

// Whatever is said, the machine stands or runs as the stub says, and can be let go.
TEST_P(GdbStubTest, RandomPacketsDoNoHarm) {
  boot(kLoop, 2);
  if (!stub_) return;
  std::mt19937 random(1);
  const std::vector<std::string> words = {"?",
                                          "g",
                                          "G",
                                          "p",
                                          "P",
                                          "m",
                                          "M",
                                          "X",
                                          "Z0,",
                                          "z0,",
                                          "Z1,",
                                          "vCont;",
                                          "vCont?",
                                          "H",
                                          "T",
                                          "D",
                                          "c",
                                          "s",
                                          "C",
                                          "S",
                                          ",",
                                          ";",
                                          ":",
                                          "=",
                                          "80000004",
                                          "8000000c",
                                          "4",
                                          "1",
                                          "2",
                                          "-1",
                                          "0",
                                          "10",
                                          "ff",
                                          "qRcmd,",
                                          "qXfer:features:read:target.xml:",
                                          "qSupported",
                                          "ffffffffffffffff",
                                          "6465766963657320",
                                          "}",
                                          "\x01",
                                          std::string(40, 'a')};
  for (int i = 0; i < 2000; ++i) {
    std::string packet;
    for (std::size_t left = random() % 7; left != 0; --left)
      packet += words[random() % words.size()];
    if (stub_->state() == GdbState::kRunning) {
      const bool broke = machine_->run(100) == StopReason::kBreakpoint;
      static_cast<void>(broke ? stub_->note_breakpoint() : stub_->note_interrupt());
    }
    if (stub_->state() != GdbState::kStopped) stub_->reset();
    static_cast<void>(stub_->answer(packet));
  }
  stub_->let_go();
  EXPECT_NE(machine_->run(1000), StopReason::kBreakpoint);
}

INSTANTIATE_TEST_SUITE_P(Cpus, GdbStubTest,
                         testing::Values(Cpu{"interpreter", std::nullopt},
                                         Cpu{"jit", JitOptions{.interpreted_runs = 0}}),
                         [](const auto& cpu) { return std::string(cpu.param.name); });

}  // namespace
}  // namespace vmrun
