#include "tools/vmrun/trace.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "tests/vmrun/assembler.h"
#include "tools/vmrun/layout.h"
#include "tools/vmrun/machine.h"

namespace vmrun {
namespace {

namespace as = assembler;
constexpr std::uint64_t kBase = 0x8000'0000;

class TraceTest : public testing::Test {
 protected:
  TraceTest() : file_(memfd_create("trace", 0)), output_(file_) {}
  ~TraceTest() override { close(file_); }

  void boot(TraceKinds kinds, std::vector<std::uint32_t> code,
            std::optional<JitOptions> jit = std::nullopt) {
    trace_.emplace(output_, kinds);
    machine_ = jit ? made(jit) : nullptr;
    if (machine_ == nullptr) machine_ = made(std::nullopt);
    ASSERT_NE(machine_, nullptr);
    code.push_back(as::jal(0, 0));
    ASSERT_TRUE(machine_->boot({.firmware = {"f", std::as_bytes(std::span(code))}}).ok());
  }
  // Null: this host has no translator.
  std::unique_ptr<Machine> made(std::optional<JitOptions> jit) {
    MachineOptions options;
    options.memory_bytes = 16 << 20;
    options.console = [](char) {};
    options.jit = jit;
    options.trace = &*trace_;
    auto machine = Machine::create(std::move(options));
    return machine.ok() ? *std::move(machine) : nullptr;
  }
  HartState& state() { return machine_->hart().state(); }
  // What was traced since the last time.
  std::string lines() {
    output_.flush();
    std::string text(static_cast<std::size_t>(lseek(file_, 0, SEEK_CUR)), '\0');
    EXPECT_EQ(pread(file_, text.data(), text.size(), 0), static_cast<ssize_t>(text.size()));
    EXPECT_EQ(ftruncate(file_, 0), 0);
    lseek(file_, 0, SEEK_SET);
    return text;
  }

  int file_;
  Output output_;
  std::optional<Trace> trace_;
  std::unique_ptr<Machine> machine_;
};

TEST_F(TraceTest, AnInstructionSaysWhatItChanged) {
  boot({.instructions = true}, {as::addi(10, 0, -1), as::kNop, as::csrrw(11, 0x340, 10), 0x00010001,
                                as::r_type(0x79, 0, 10, 0, 1, 0x53)});
  state().csrs.mstatus |= kMstatusFs;
  static_cast<void>(machine_->run(6));
  EXPECT_EQ(lines(),
            "insn 0 0 M 0x80000000 fff00513 a0=0xffffffffffffffff\n"
            "insn 0 1 M 0x80000004 00000013\n"
            "insn 0 2 M 0x80000008 340515f3 a1=0x0 mscratch=0xffffffffffffffff\n"
            "insn 0 3 M 0x8000000c 0001\n"
            "insn 0 4 M 0x8000000e 0001\n"
            "insn 0 5 M 0x80000010 f20500d3 ft1=0xffffffffffffffff\n"
            "insn 0 6 M 0x80000014 0000006f\n");
}

TEST_F(TraceTest, ATrapSaysWhereFromAndWhereTo) {
  boot({.traps = true}, {as::kNop, 0});
  state().csrs.mtvec = kBase + 8;
  state().csrs.mie = mask_of(Interrupt::kTimer);
  static_cast<void>(machine_->run(3));
  EXPECT_EQ(lines(), "trap 0 1 M 0x80000004 2 0x0 M 0x80000008 illegal instruction\n");
  state().csrs.mie = mask_of(Interrupt::kSupervisorSoftware);
  state().csrs.mip = mask_of(Interrupt::kSupervisorSoftware);
  state().csrs.mstatus |= kMstatusMie;
  static_cast<void>(machine_->run(1));
  EXPECT_EQ(lines(), "trap 0 3 M 0x80000008 i1 0x0 M 0x80000008 interrupt\n");
}

TEST_F(TraceTest, DevicesAreNamedAndRefusalsSaid) {
  boot({.mmio = true},
       {as::u_type(kUartBase >> 12, 5, 0x37), as::load(4, 6, 5, 5), as::store(0, 5, 5, 7),
        as::u_type(kFinisherBase >> 12, 5, 0x37), as::load(3, 6, 5, 0)});
  static_cast<void>(machine_->run(6));
  EXPECT_EQ(lines(),
            "mmio 0 0 read 0x10000005 1 0x60 uart\n"
            "mmio 0 0 write 0x10000007 1 0x0 uart\n"
            "mmio 0 0 read 0x100000 8 0x0 finisher\n");
  trace_->note_access(state(), {"read", 0x1000, 4, 0, vm_mem::AccessFault::kDevice}, "uart");
  EXPECT_EQ(lines().substr(0, 7), "mmio 0 ");
}

TEST_F(TraceTest, KindsAreAList) {
  EXPECT_EQ(parse_trace_kinds("insn"), TraceKinds{.instructions = true});
  EXPECT_EQ(parse_trace_kinds("trap,block"), (TraceKinds{.blocks = true, .traps = true}));
  for (const char* wrong : {"", ",", "insn,", ",insn", "insn trap", "INSN"}) {
    EXPECT_EQ(parse_trace_kinds(wrong), std::nullopt) << wrong;
  }
}

// A loop with a call and, every other time, an exception.
const std::vector<std::uint32_t> kProgram = {as::u_type(0, 5, 0x17),
                                             as::addi(5, 5, 44),
                                             as::csrrw(0, 0x305, 5),
                                             as::addi(10, 10, 1),
                                             as::jal(1, 12),
                                             as::b_type(-8, 0, 10, 1),
                                             as::kNop,
                                             as::i_type(1, 10, 7, 11, 0x13),
                                             as::b_type(8, 0, 11, 0),
                                             as::kEcall,
                                             as::i_type(0, 1, 0, 0, 0x67),
                                             as::csrrs(12, 0x341, 0),
                                             as::addi(12, 12, 4),
                                             as::csrrw(0, 0x341, 12),
                                             as::kMret};

TEST_F(TraceTest, NoTraceChangesTheRunAndBothCpusHaveTheSame) {
  constexpr std::uint64_t kMany = 5000;
  std::vector<std::string> traces;
  std::vector<std::uint64_t> ends;
  for (const bool all : {false, true}) {
    for (const bool jit : {false, true}) {
      const TraceKinds kinds{.instructions = all, .blocks = true, .traps = true, .mmio = all};
      boot(kinds, kProgram, jit ? std::optional(JitOptions{.interpreted_runs = 0}) : std::nullopt);
      static_cast<void>(machine_->run(kMany));
      traces.push_back(lines());
      ends.push_back(state().x[10]);
      ends.push_back(state().clock.retired());
    }
  }
  EXPECT_GT(ends[0], 100u);
  EXPECT_EQ(traces[0], traces[1]);
  EXPECT_EQ(traces[2], traces[3]);
  EXPECT_GT(traces[2].size(), traces[0].size());
  for (std::size_t i = 2; i < ends.size(); ++i) EXPECT_EQ(ends[i], ends[i % 2]);
  boot({}, kProgram);
  static_cast<void>(machine_->run(kMany));
  EXPECT_EQ(state().x[10], ends[0]);
  EXPECT_EQ(state().clock.retired(), ends[1]);
  EXPECT_EQ(lines(), "");
}

}  // namespace
}  // namespace vmrun
