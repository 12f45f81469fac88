// The translator beside the interpreter: the same state after the same instructions.
#include "tools/vmrun/jit.h"

#include <gtest/gtest.h>

#include <array>
#include <string>
#include <tuple>

#include "tests/vmrun/assembler.h"
#include "tests/vmrun/random_program.h"
#include "tools/vmrun/hart.h"
#include "vm_mem/memory_manager.h"

namespace vmrun {
namespace {

namespace as = assembler;
using vm_mem::GuestAddress;

constexpr std::uint64_t kCode = 0x8000'0000;
constexpr std::uint64_t kHandler = kCode + 0x4000;
constexpr std::uint64_t kData = kCode + 0x10000;
constexpr std::uint64_t kRamBytes = 0x20000;
constexpr std::uint64_t kRom = 0x1000;
constexpr std::uint64_t kDataBytes = 16384;

using Data = std::array<std::byte, kDataBytes>;

enum class Cpu : std::uint8_t { kInterpreter, kSoftTlb, kFastmem };

// RAM, a page of ROM, a hart.
class Guest {
 public:
  explicit Guest(Cpu cpu, std::size_t code_bytes = JitOptions{}.code_bytes) {
    const auto ram = vm_mem::GuestRange::make(GuestAddress{kCode}, kRamBytes);
    const auto rom = vm_mem::GuestRange::make(GuestAddress{kRom}, 4096);
    static_cast<void>(memory_
                          ->add_ram(*ram, {.backing = vm_mem::Backing::kMemfd,
                                           .dirty_tracking = vm_mem::DirtyTracking::kOn,
                                           .code_watch = vm_mem::CodeWatching::kOn})
                          .value());
    static_cast<void>(memory_->add_rom(*rom, std::vector<std::byte>(4096)).value());
    if (cpu != Cpu::kInterpreter) {
      const auto mode = cpu == Cpu::kFastmem ? MemoryMode::kFastmem : MemoryMode::kSoftTlb;
      EXPECT_EQ(hart_->use_jit({.interpreted_runs = 0,
                                .code_bytes = code_bytes,
                                .memory_mode = mode,
                                .ram_base = kCode,
                                .ram_bytes = kRamBytes}),
                absl::OkStatus());
    }
    state().pc = kCode;
    state().csrs.mtvec = kHandler;
    program({as::jal(0, 0)}, kHandler);
  }

  Hart& hart() { return *hart_; }
  HartState& state() { return hart_->state(); }
  std::uint64_t& x(unsigned index) { return state().x[index]; }
  std::uint64_t retired() { return state().clock.retired(); }
  vm_mem::MemoryManager& memory() { return *memory_; }
  JitStatistics statistics() { return hart_->jit()->statistics(); }

  void write(std::uint64_t at, std::span<const std::byte> bytes) {
    EXPECT_TRUE(memory_->write(GuestAddress{at}, bytes).ok());
  }
  void program(const std::vector<std::uint32_t>& words, std::uint64_t at = kCode) {
    write(at, std::as_bytes(std::span(words)));
  }
  Data data() {
    Data out{};
    EXPECT_TRUE(memory_->read(GuestAddress{kData}, out).ok());
    return out;
  }

 private:
  std::unique_ptr<vm_mem::MemoryManager> memory_ = vm_mem::MemoryManager::create({}).value();
  std::unique_ptr<Hart> hart_ = Hart::create(*memory_).value();
};

void expect_same(Guest& got, Guest& want) {
  EXPECT_EQ(got.state().pc, want.state().pc);
  for (std::size_t i = 1; i < 32; ++i) {
    EXPECT_EQ(got.state().x[i], want.state().x[i]) << "x" << i;
  }
  EXPECT_TRUE(got.state().f == want.state().f) << "floating point";
  EXPECT_EQ(got.retired(), want.retired());
  EXPECT_TRUE(got.state().csrs == want.state().csrs) << "CSRs";
  EXPECT_EQ(got.state().csrs.mepc, want.state().csrs.mepc);
  EXPECT_EQ(got.state().csrs.mcause, want.state().csrs.mcause);
  EXPECT_EQ(got.state().csrs.mtval, want.state().csrs.mtval);
  EXPECT_TRUE(got.data() == want.data()) << "memory";
}

class JitTest : public testing::TestWithParam<Cpu> {
 protected:
  // Both run the same words; both are then the same.
  void run_both(const std::vector<std::uint32_t>& words, std::uint64_t instructions) {
    for (Guest* guest : {&jit, &interpreter}) {
      guest->program(words);
      static_cast<void>(guest->hart().run(instructions));
    }
    expect_same(jit, interpreter);
  }
  void set(unsigned index, std::uint64_t value) {
    jit.x(index) = value;
    interpreter.x(index) = value;
  }

  Guest jit{GetParam()};
  Guest interpreter{Cpu::kInterpreter};
};

void start(Guest& guest, std::uint64_t seed, const std::vector<std::uint16_t>& code) {
  RandomProgram random(~seed);
  HartState& state = guest.state();
  state.pc = kCode;
  state.reservation = {};
  state.csrs.mstatus |= kMstatusFs;
  for (std::size_t i = 1; i < 32; ++i) state.x[i] = random.value();
  for (std::size_t i = 0; i < 32; ++i) {
    state.f[i] = i < RandomProgram::kSingles ? random.single() : random.value();
  }
  std::uint64_t slot = 0;
  for (const unsigned base : RandomProgram::kBases) {
    state.x[base] = kData + kDataBytes / 2 + 8 * (3 * (random.value() % 85) + slot++);
  }
  Data data;
  for (std::byte& byte : data) byte = static_cast<std::byte>(random.value());
  guest.write(kData, data);
  guest.write(kCode, std::as_bytes(std::span(code)));
  guest.hart().forget_code();
}

TEST_P(JitTest, RandomProgramsEndInTheSameState) {
  constexpr unsigned kPrograms = 150;
  constexpr unsigned kInstructions = 60;
  for (unsigned seed = 1; seed <= kPrograms && !HasFailure(); ++seed) {
    auto code = RandomProgram(seed).make(kInstructions);
    code.insert(code.end(), {0x006f, 0x0000});  // jumps to itself
    for (Guest* guest : {&jit, &interpreter}) {
      start(*guest, seed, code);
      static_cast<void>(guest->hart().run(2 * kInstructions));
    }
    expect_same(jit, interpreter);
    EXPECT_EQ(jit.state().pc, kCode + 2 * (code.size() - 2));
    if (HasFailure()) ADD_FAILURE() << "program " << seed;
  }
  EXPECT_GT(jit.statistics().translated, kPrograms);
  EXPECT_GT(jit.statistics().invalidated, kPrograms / 2);
}

TEST_P(JitTest, ALoopStopsWhereTheInterpreterDoes) {
  set(10, 1000);
  run_both({as::addi(5, 5, 3), as::addi(10, 10, -1), as::b_type(-8, 0, 10, 1), as::jal(0, 0)},
           1234);
  EXPECT_EQ(jit.x(5), 3u * 412);
  EXPECT_LT(jit.statistics().dispatches, 8u);  // it goes round in its own code
}

TEST_P(JitTest, CallsAndReturnsStayInTranslatedCode) {
  set(10, 500);
  run_both({as::jal(1, 16), as::addi(10, 10, -1), as::b_type(-8, 0, 10, 1), as::jal(0, 0),
            as::addi(11, 11, 7), as::i_type(0, 1, 0, 0, 0x67)},
           5 * 400);
  EXPECT_EQ(jit.x(11), 7u * 400);
  EXPECT_LT(jit.statistics().dispatches, 12u);
}

// 1500 blocks, of which a few hundred find room at a time.
TEST_P(JitTest, FullCodeMemoryIsUsedAnew) {
  Guest small(GetParam(), 128 << 10);
  std::vector<std::uint32_t> words;
  for (int i = 0; i < 1500; ++i) {
    words.push_back(as::addi(5, 5, i));
    words.push_back(as::jal(0, 4));
  }
  words.insert(words.end(), {as::addi(10, 10, -1), as::b_type(8, 0, 10, 0), as::jal(0, -12008)});
  words.push_back(as::jal(0, 0));
  for (Guest* guest : {&small, &interpreter}) {
    guest->program(words);
    guest->x(10) = 3;
    static_cast<void>(guest->hart().run(3 * 3003));
  }
  expect_same(small, interpreter);
  EXPECT_EQ(small.x(10), 0u);
  EXPECT_EQ(small.x(5), 3u * (1499 * 1500 / 2));
  EXPECT_GE(small.statistics().flushes, 3u);
}

TEST_P(JitTest, DivisionHasTheManualsSpecialCases) {
  const std::uint64_t values[] = {0, 1, ~std::uint64_t{0}, std::uint64_t{1} << 63, 0x80000000, 7};
  std::vector<std::uint32_t> words;
  for (unsigned funct3 = 0; funct3 < 8; ++funct3) {
    words.push_back(as::op(1, funct3, 16 + funct3, 10, 5));
    if (funct3 == 0 || funct3 >= 4) words.push_back(as::op_w(1, funct3, 24 + funct3, 5, 10));
  }
  words.push_back(as::jal(0, 0));
  for (const std::uint64_t a : values) {
    for (const std::uint64_t b : values) {
      set(10, a);
      set(5, b);
      jit.state().pc = interpreter.state().pc = kCode;
      run_both(words, words.size());
    }
  }
}

// Every instruction of Zba and Zbb, of registers with and without one of the host's, and of
// those that are the same.
TEST_P(JitTest, BitManipulationGivesWhatTheInterpreterDoes) {
  constexpr unsigned kRegister[][3] = {
      {0x33, 0x10, 2}, {0x33, 0x10, 4}, {0x33, 0x10, 6}, {0x33, 0x20, 4}, {0x33, 0x20, 6},
      {0x33, 0x20, 7}, {0x33, 0x05, 4}, {0x33, 0x05, 5}, {0x33, 0x05, 6}, {0x33, 0x05, 7},
      {0x33, 0x30, 1}, {0x33, 0x30, 5}, {0x3b, 0x04, 0}, {0x3b, 0x10, 2}, {0x3b, 0x10, 4},
      {0x3b, 0x10, 6}, {0x3b, 0x30, 1}, {0x3b, 0x30, 5}};
  constexpr unsigned kUnary[][3] = {
      {0x13, 0x600, 1}, {0x13, 0x601, 1}, {0x13, 0x602, 1}, {0x13, 0x604, 1}, {0x13, 0x605, 1},
      {0x1b, 0x600, 1}, {0x1b, 0x601, 1}, {0x1b, 0x602, 1}, {0x1b, 0x0a1, 1}, {0x13, 0x287, 5},
      {0x13, 0x6b8, 5}, {0x13, 0x62d, 5}, {0x1b, 0x60d, 5}, {0x3b, 0x080, 4}};
  constexpr unsigned kOperands[][3] = {{10, 11, 12}, {5, 6, 7},    {10, 6, 11}, {5, 10, 6},
                                       {11, 11, 12}, {11, 12, 11}, {6, 6, 6},   {0, 10, 11},
                                       {10, 0, 11},  {10, 11, 0}};
  std::vector<std::uint32_t> words;
  for (const auto& [rd, rs1, rs2] : kOperands) {
    for (const auto& [opcode, funct7, funct3] : kRegister) {
      words.push_back(as::r_type(funct7, rs2, rs1, funct3, rd, opcode));
    }
    for (const auto& [opcode, upper, funct3] : kUnary) {
      words.push_back(as::i_type(static_cast<int>(upper), rs1, funct3, rd, opcode));
    }
    for (unsigned index : {5u, 6u, 7u, 10u, 11u, 12u}) {
      words.push_back(as::op(0, 0, index, index, 20 + index % 8));  // add
    }
  }
  const std::size_t count = words.size();
  words.push_back(as::jal(0, 0));
  RandomProgram random(1);
  for (unsigned round = 0; round < 20 && !HasFailure(); ++round) {
    for (unsigned index = 1; index < 32; ++index) set(index, random.value());
    for (Guest* guest : {&jit, &interpreter}) guest->state().pc = kCode;
    run_both(words, count);
    EXPECT_EQ(jit.state().csrs.mcause, 0u);
  }
}

TEST_P(JitTest, FloatingPointAccessesFollowAndSetItsStatus) {
  const std::vector<std::uint32_t> stores = {as::addi(5, 5, 1), as::s_type(0, 1, 10, 3, 0x27),
                                             as::s_type(8, 1, 10, 2, 0x27), as::jal(0, 0)};
  const std::vector<std::uint32_t> loads = {as::addi(5, 5, 1),
                                            as::i_type(0, 10, 3, 2, 0x07),
                                            as::i_type(4, 10, 2, 3, 0x07),
                                            as::r_type(0x11, 2, 2, 0, 4, 0x53),   // fsgnj.d
                                            as::r_type(0x71, 0, 4, 0, 6, 0x53),   // fmv.x.d
                                            as::r_type(0x79, 0, 10, 0, 5, 0x53),  // fmv.d.x
                                            as::i_type(-4, 11, 3, 7, 0x07),       // faults
                                            as::jal(0, 0)};
  for (const auto& [words, before, after] :
       {std::tuple{stores, 0u, 0u}, {loads, 0u, 0u}, {stores, 1u, 1u}, {loads, 1u, 3u}}) {
    set(5, 0);
    set(10, kData + 64);
    set(11, kCode);
    for (Guest* guest : {&jit, &interpreter}) {
      guest->state().pc = kCode;
      guest->state().f[1] = 0x4009'21fb'5444'2d18;
      guest->state().csrs.mstatus = std::uint64_t{before} << 13;
      guest->state().csrs.mcause = 0;
      guest->hart().forget_code();
    }
    run_both(words, 4);
    EXPECT_EQ(jit.state().csrs.mstatus >> 13 & 3, after);
    EXPECT_EQ(jit.state().csrs.mcause, before == 0 ? 2u : after == 3 ? 5u : 0u);
    EXPECT_EQ(jit.x(5), 1u);
  }
}

TEST_P(JitTest, AFaultIsAtItsInstruction) {
  set(10, 0x5000);  // a hole
  run_both({as::addi(5, 5, 1), as::addi(10, 10, 8), as::load(3, 10, 10, 16), as::addi(5, 5, 1)}, 4);
  EXPECT_EQ(jit.state().csrs.mepc, kCode + 8);
  EXPECT_EQ(jit.state().csrs.mtval, 0x5018u);
  EXPECT_EQ(jit.x(10), 0x5008u);
  EXPECT_EQ(jit.x(5), 1u);
}

TEST_P(JitTest, AStoreToRomAndOneAcrossTheEndOfRamFault) {
  set(10, kRom);
  run_both({as::store(3, 5, 10, 8)}, 2);
  EXPECT_EQ(jit.state().csrs.mcause, static_cast<std::uint64_t>(Cause::kStoreAccess));
  set(10, kCode + kRamBytes - 4);
  jit.state().pc = interpreter.state().pc = kCode;
  run_both({as::store(3, 5, 10, 0)}, 2);
  EXPECT_EQ(jit.state().csrs.mtval, kCode + kRamBytes);
}

TEST_P(JitTest, LoadsIntoX0Fault) {
  set(10, 0x5000);
  run_both({as::load(3, 0, 10, 0)}, 2);
  EXPECT_EQ(jit.state().csrs.mtval, 0x5000u);
}

TEST_P(JitTest, UntranslatedInstructionsRunInTheMiddleOfABlock) {
  set(10, kData);
  set(11, 5);
  run_both({as::addi(11, 11, 1), as::amo(0, 3, 12, 10, 11), as::amo(0, 3, 13, 10, 11),
            as::addi(13, 13, 1), as::csrrs(14, 0xc02, 0), as::csrrs(15, 0xb02, 0), as::jal(0, 0)},
           8);
  EXPECT_EQ(jit.x(13), jit.x(12) + 7);
  EXPECT_EQ(jit.x(15), jit.x(14) + 1);
}

TEST_P(JitTest, MisalignedAtomicsTrapInTheMiddleOfABlock) {
  set(10, kData + 1);
  run_both({as::addi(11, 11, 1), as::amo(0, 3, 12, 10, 11), as::addi(11, 11, 1)}, 3);
  EXPECT_EQ(jit.state().csrs.mepc, kCode + 4);
  EXPECT_EQ(jit.x(11), 1u);
}

TEST_P(JitTest, InterruptsAreTakenOutOfALinkedLoop) {
  jit.program({{as::addi(5, 5, 1), as::jal(0, -4)}});
  static_cast<void>(jit.hart().run(1000));
  jit.state().csrs.mie = mask_of(Interrupt::kTimer);
  jit.state().csrs.mstatus |= kMstatusMie;
  jit.state().pins.raise(Interrupt::kTimer);
  static_cast<void>(jit.hart().run(1000));
  EXPECT_EQ(jit.state().pc, kHandler);
  EXPECT_EQ(jit.x(5), 500u);
}

TEST_P(JitTest, YieldLeavesALinkedLoop) {
  jit.program({as::jal(0, 0)});
  static_cast<void>(jit.hart().run(1000));
  jit.hart().yield();
  EXPECT_EQ(jit.hart().run(UINT64_MAX / 2), StopReason::kYield);
  EXPECT_EQ(jit.retired(), 1000u);
}

// A function that the loop rewrites each time round: it adds the loop's number.
TEST_P(JitTest, AGuestThatRewritesItsCodeRunsTheNewCode) {
  set(6, kCode + 0x40);
  set(7, as::addi(5, 5, 0));
  set(9, 100);
  jit.program({as::i_type(0, 1, 0, 0, 0x67)}, kCode + 0x44);
  interpreter.program({as::i_type(0, 1, 0, 0, 0x67)}, kCode + 0x44);
  run_both({as::u_type(0x100, 12, 0x37), as::op(0, 0, 7, 7, 12), as::store(2, 7, 6, 0), as::kFenceI,
            as::jal(1, 0x30), as::addi(9, 9, -1), as::b_type(-24, 0, 9, 1), as::jal(0, 0)},
           9 * 100 + 50);
  EXPECT_EQ(jit.x(5), 5050u);
  EXPECT_GE(jit.statistics().invalidated, 99u);
}

TEST_P(JitTest, CodeThatTheHostWritesIsRun) {
  jit.program({{as::addi(5, 0, 1), as::jal(0, -4)}});
  static_cast<void>(jit.hart().run(100));
  EXPECT_EQ(jit.x(5), 1u);
  jit.program({as::addi(5, 0, 2)});
  static_cast<void>(jit.hart().run(4));
  EXPECT_EQ(jit.x(5), 2u);
}

TEST_P(JitTest, DataBesideCodeLeavesItTranslated) {
  set(6, kCode + 0x800);
  set(9, 200);
  run_both({as::store(3, 9, 6, 0), as::addi(9, 9, -1), as::b_type(-8, 0, 9, 1), as::jal(0, 0)},
           500);
  EXPECT_EQ(jit.statistics().invalidated, 0u);
}

TEST_P(JitTest, AnInstructionAcrossPagesIsTranslated) {
  constexpr std::uint64_t kEndOfPage = kCode + 0xffe;
  for (Guest* guest : {&jit, &interpreter}) {
    guest->program({as::addi(10, 10, -1), as::b_type(-4, 0, 10, 1), as::jal(0, 0)}, kEndOfPage);
    guest->x(10) = 1000;
    guest->state().pc = kEndOfPage;
    static_cast<void>(guest->hart().run(2010));
  }
  expect_same(jit, interpreter);
  EXPECT_EQ(jit.x(10), 0u);
  EXPECT_EQ(jit.statistics().interpreted, 0u);
  EXPECT_LE(jit.statistics().dispatches, 10u);
}

TEST_P(JitTest, CodeThatCannotBeWatchedIsRefusedOnce) {
  constexpr std::uint64_t kUnwatched = 0x9000'0000;
  const auto ram = vm_mem::GuestRange::make(GuestAddress{kUnwatched}, 4096);
  ASSERT_TRUE(jit.memory().add_ram(*ram).ok());
  jit.program({as::addi(10, 10, -1), as::b_type(-4, 0, 10, 1), as::jal(0, 0)}, kUnwatched);
  jit.x(10) = 1000;
  jit.state().pc = kUnwatched;
  static_cast<void>(jit.hart().run(2010));
  EXPECT_EQ(jit.x(10), 0u);
  EXPECT_GE(jit.statistics().interpreted, 1000u);
  EXPECT_LE(jit.statistics().decoded, 4u);
}

TEST_P(JitTest, WhatIsMadeToFitIntoOnePageIsTranslatedBehindTheFence) {
  constexpr std::uint64_t kEndOfPage = kCode + 0xffe;
  const auto run_it = [&] {
    jit.state().pc = kEndOfPage;
    static_cast<void>(jit.hart().run(5));
  };
  jit.program({as::addi(10, 0, 3), as::kFenceI, as::jal(0, 0)}, kEndOfPage);
  run_it();
  const std::uint64_t before = jit.statistics().interpreted;
  const std::uint16_t to_x10[] = {0x4515};  // c.li a0, 5
  jit.write(kEndOfPage, std::as_bytes(std::span(to_x10)));
  jit.program({as::jal(0, 0)}, kCode + 0x1000);
  run_it();
  EXPECT_EQ(jit.x(10), 5u);
  EXPECT_EQ(jit.statistics().interpreted, before);
}

TEST_P(JitTest, FastmemIsUsedWhereItWasAskedFor) {
  EXPECT_EQ(jit.hart().jit()->fallback_reason(), "");
  set(10, kData);
  run_both({as::load(3, 5, 10, 0), as::store(3, 5, 10, 8), as::addi(10, 10, 16), as::jal(0, -12)},
           400);
  const std::byte* const none = nullptr;
  EXPECT_EQ(jit.hart().memory().cpu().fastmem_base != none, GetParam() == Cpu::kFastmem);
}

// ROM is not in the arena: the load faults until it is a call.
TEST_P(JitTest, AnAccessThatFaultsAgainAndAgainBecomesACall) {
  set(10, kRom);
  run_both({as::load(3, 5, 10, 0), as::addi(6, 6, 1), as::csrrs(7, 0xb02, 0), as::jal(0, -12)},
           4 * 100);
  EXPECT_EQ(jit.statistics().hot, GetParam() == Cpu::kFastmem ? 1u : 0u);
}

std::string name_of(const testing::TestParamInfo<Cpu>& info) {
  return info.param == Cpu::kFastmem ? "fastmem" : "softtlb";
}

INSTANTIATE_TEST_SUITE_P(MemoryModes, JitTest, testing::Values(Cpu::kSoftTlb, Cpu::kFastmem),
                         name_of);

}  // namespace
}  // namespace vmrun
