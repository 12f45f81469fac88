// The translator behind page tables, beside the interpreter: translations may be shared by
// what is the same memory, and by nothing else.

#include <gtest/gtest.h>

#include <utility>
#include <vector>

#include "tests/vmrun/jit_paging.h"
#include "tests/vmrun/random_program.h"
#include "vm_device/dma.h"

namespace vmrun {
namespace {

// Makes the page of the data that faulted valid, with what sscratch points to: room for two
// registers, and where the entries of the data are.
constexpr std::uint32_t kPageIn[] = {as::csrrw(5, kSscratch, 5),
                                     as::store(3, 6, 5, 0),
                                     as::store(3, 7, 5, 8),
                                     as::csrrs(6, kStval, 0),
                                     as::i_type(9, 6, 5, 6, 0x13),     // srli
                                     as::i_type(0x18, 6, 7, 6, 0x13),  // andi
                                     as::load(3, 7, 5, 16),
                                     as::op(0, 0, 6, 6, 7),
                                     as::load(3, 7, 6, 0),
                                     as::i_type(1, 7, 6, 7, 0x13),  // ori
                                     as::store(3, 7, 6, 0),
                                     kSfenceAll,
                                     as::load(3, 7, 5, 8),
                                     as::load(3, 6, 5, 0),
                                     as::csrrw(5, kSscratch, 5),
                                     kSret};

// A random program of two pages of code, which do not lie side by side, and four of data, in
// the opposite order, some of them absent at first.
class RandomPagingTest : public JitPagingTest {
 protected:
  static constexpr std::uint64_t kDataBytes = 16384;
  static constexpr std::uint64_t kSave = PagingHart::kVirtualData + 0x8000;
  static constexpr std::uint64_t kSavePage = BareHart::kData + 0x5000;
  static constexpr std::uint64_t kSecondPage = BareHart::kCode + 0x3000;

  RandomPagingTest() {
    program({std::begin(kPageIn), std::end(kPageIn)}, BareHart::kHandler);
    map(kCode + 0x1000, kSecondPage, kRx);
    map(kSave, kSavePage, kRw);
    show_entry(31, PagingHart::kVirtualData, BareHart::kData, kRw);
    both([](PagingHart& hart) {
      hart.poke<std::uint64_t>(kSavePage + 16, hart.x(31));
      hart.state().csrs.sscratch = kSave;
    });
  }
  void write_code(const std::vector<std::uint16_t>& code, std::uint64_t offset) {
    both([&](PagingHart& hart) {
      for (const std::uint16_t half : code) {
        const std::uint64_t page = offset < 4096 ? BareHart::kCode : kSecondPage;
        hart.poke(page + offset % 4096, half);
        offset += 2;
      }
      offset -= 2 * code.size();
    });
  }
  void prepare(std::uint64_t seed) {
    both([seed](PagingHart& hart) {
      RandomProgram random(~seed);
      HartState& state = hart.state();
      for (std::size_t i = 1; i < 32; ++i) state.x[i] = random.value();
      for (std::size_t i = 0; i < 32; ++i) {
        state.f[i] = i < RandomProgram::kSingles ? random.single() : random.value();
      }
      std::uint64_t slot = 0;
      for (const unsigned base : RandomProgram::kBases) {
        state.x[base] =
            PagingHart::kVirtualData + kDataBytes / 2 + 8 * (3 * (random.value() % 85) + slot++);
      }
      for (std::uint64_t at = 0; at < kDataBytes; at += 8) {
        hart.poke(BareHart::kData + at, random.value());
      }
      for (std::uint64_t page = 0; page < 4; ++page) {
        hart.map(PagingHart::kVirtualData + page * 4096, BareHart::kData + (3 - page) * 4096,
                 kR | kW | (random.value() & kV));
      }
      state.csrs.mstatus = kMstatusFs;
      state.csrs.scause = 0;
      state.reservation = {};
      hart.hart().forget_translations();
      hart.hart().forget_code();
    });
  }
};

TEST_F(RandomPagingTest, ProgramsEndInTheSameState) {
  constexpr unsigned kPrograms = 100, kInstructions = 60;
  unsigned faulted = 0;
  for (unsigned seed = 1; seed <= kPrograms && !HasFailure(); ++seed) {
    auto code = RandomProgram(seed).make(kInstructions);
    const std::uint64_t offset = 0xf40 + 2 * (seed % 64);
    const std::uint64_t end = kCode + offset + 2 * code.size();
    code.insert(code.end(), {0x006f, 0x0000});  // jumps to itself
    write_code(code, offset);
    prepare(seed);
    go(2 * kInstructions + 4 * std::size(kPageIn), kCode + offset);
    EXPECT_EQ(jit.state().pc, end);
    faulted += jit.state().csrs.scause != 0 ? 1u : 0u;
    if (HasFailure()) ADD_FAILURE() << "program " << seed;
  }
  EXPECT_GT(faulted, kPrograms / 3);
  EXPECT_GT(statistics().translated, kPrograms);
}

// Each half of the page's code, behind the fence, is the other page's.
TEST_F(JitPagingTest, AProgramRemapsThePageThatItRunsFrom) {
  for (const std::uint32_t fence : {kSfenceAll, sfence(9)}) {
    program({as::store(3, 7, 6, 0), fence, as::addi(5, 5, 1), as::jal(0, -12)});
    program({as::store(3, 8, 6, 0), fence, as::addi(5, 5, 100), as::jal(0, -12)}, kOther);
    show_entry(6, kCode, BareHart::kCode, kRx);
    both([](PagingHart& hart) { hart.hart().forget_translations(); });
    set(5, 0);
    set(7, entry_of(kOther, kRx));
    set(8, entry_of(BareHart::kCode, kRx));
    set(9, kCode);
    const std::uint64_t before = statistics().translated;
    go(4 * 200);
    EXPECT_EQ(jit.x(5), 100u * 101);
    EXPECT_LE(statistics().translated - before, 8u);  // they are found again
  }
}

TEST_F(JitPagingTest, AProgramRemapsItsData) {
  const std::uint64_t gva = PagingHart::kVirtualData;
  both([](PagingHart& hart) {
    hart.poke<std::uint64_t>(BareHart::kData, 1);
    hart.poke<std::uint64_t>(BareHart::kData + 0x1000, 1000);
  });
  show_entry(6, gva, BareHart::kData, kRw);
  set(7, entry_of(BareHart::kData + 0x1000, kRw));
  set(8, entry_of(BareHart::kData, kRw));
  set(10, gva);
  program({as::load(3, 9, 10, 0), as::op(0, 0, 5, 5, 9), as::store(3, 7, 6, 0), sfence(10),
           as::load(3, 9, 10, 0), as::op(0, 0, 5, 5, 9), as::store(3, 8, 6, 0), kSfenceAll,
           as::jal(0, -32)});
  go(9 * 100);
  EXPECT_EQ(jit.x(5), 100u * 1001);
}

// A page that is called, once it is another one.
TEST_F(JitPagingTest, JumpsIntoARemappedPageFindItsNewCode) {
  program({as::addi(5, 5, 1), kReturn}, kOther);
  program({as::addi(5, 5, 1000), kReturn}, kOther + 0x1000);
  show_entry(6, kCode + 0x1000, kOther, kRx);
  set(7, entry_of(kOther + 0x1000, kRx));
  set(10, 100);
  set(11, kCode + 0x1000);
  program({as::jal(1, 0x1000), as::addi(10, 10, -1), as::b_type(-8, 0, 10, 1),
           as::store(3, 7, 6, 0), sfence(11), as::jal(1, 0x1000 - 20), as::jal(0, 0)});
  go(5 * 100 + 10);
  EXPECT_EQ(jit.x(5), 1100u);
  EXPECT_LT(statistics().dispatches, 20u);
}

TEST_F(JitPagingTest, APageThatMayNotBeExecutedAnyMoreFaults) {
  program({as::addi(5, 5, 1), kReturn}, kOther);
  show_entry(6, kCode + 0x1000, kOther, kRx);
  set(7, entry_of(kOther, kRw));
  set(10, 100);
  program({as::jal(1, 0x1000), as::addi(10, 10, -1), as::b_type(-8, 0, 10, 1),
           as::store(3, 7, 6, 0), kSfenceAll, as::jal(1, 0x1000 - 20), as::jal(0, 0)});
  go(5 * 100 + 10);
  EXPECT_EQ(jit.x(5), 100u);
  EXPECT_EQ(jit.state().csrs.scause, 12u);
  EXPECT_EQ(jit.state().csrs.sepc, kCode + 0x1000);
}

// The entry is changed without a fence, and the soft TLB loses the page all the same: the
// jump within the page goes from the old memory to the new one, once.
TEST_F(JitPagingTest, AJumpFromOldMemoryToNewIsNotMadeDirect) {
  program({as::addi(5, 5, 1), as::jal(0, 4), as::addi(5, 5, 10), as::jal(0, -12)});
  program({as::addi(5, 5, 1), as::jal(0, 4), as::addi(5, 5, 1000), as::jal(0, -12)}, kOther);
  go(2);
  map(kCode, kOther, kRx);
  both([](PagingHart& hart) { vme_tlb_flush(&hart.hart().memory().cpu()); });
  go(2, kCode + 8);
  EXPECT_EQ(jit.x(5), 1001u);
  map(kCode, BareHart::kCode, kRx);
  both([](PagingHart& hart) { hart.hart().forget_translations(); });
  go(4);
  EXPECT_EQ(jit.x(5), 1012u);
}

// The second half of an instruction comes, goes, and comes from elsewhere.
TEST_F(JitPagingTest, AnInstructionAcrossPagesIsThatOfBothAsTheyAre) {
  const std::uint64_t at = kCode + 4094;
  const auto second_half = [&](int value, std::uint64_t page) {
    both([&](PagingHart& hart) {
      hart.poke<std::uint16_t>(page, static_cast<std::uint16_t>(as::addi(5, 0, value) >> 16));
      hart.poke<std::uint32_t>(page + 2, as::jal(0, 0));
    });
  };
  const auto remap = [&](std::uint64_t page, std::uint64_t bits) {
    map(kCode + 4096, page, bits);
    both([](PagingHart& hart) { hart.hart().forget_translations(); });
  };
  both([](PagingHart& hart) {
    hart.poke<std::uint16_t>(BareHart::kCode + 4094, static_cast<std::uint16_t>(as::addi(5, 0, 7)));
  });
  second_half(7, kOther);
  second_half(9, kOther + 0x1000);
  for (int round = 0; round < 3; ++round) {
    remap(kOther, 0);
    set(5, 0);
    go(3, at);
    EXPECT_EQ(jit.x(5), 0u);
    EXPECT_EQ(jit.state().csrs.stval, kCode + 4096);
    const std::uint64_t interpreted = jit.hart().jit()->statistics().interpreted;
    remap(kOther, kRx);
    go(3, at);
    EXPECT_EQ(jit.x(5), 7u);
    remap(kOther + 0x1000, kRx);
    go(3, at);
    EXPECT_EQ(jit.x(5), 9u);
    EXPECT_EQ(jit.hart().jit()->statistics().interpreted, interpreted);
  }
}

// A loop that two pages have, which do not lie side by side.
TEST_F(JitPagingTest, ALoopWithAnInstructionAcrossPagesStaysInTranslatedCode) {
  const std::uint32_t loop[] = {as::addi(10, 10, -1), as::addi(5, 5, 3), as::b_type(-8, 0, 10, 1),
                                as::jal(0, 0)};
  both([&](PagingHart& hart) {
    std::uint64_t offset = 4094 - 4;
    for (const std::uint32_t word : loop) {
      for (const std::uint32_t half : {word & 0xffff, word >> 16}) {
        const std::uint64_t page = offset < 4096 ? BareHart::kCode : kOther + 0x1000;
        hart.poke(page + offset % 4096, static_cast<std::uint16_t>(half));
        offset += 2;
      }
    }
  });
  map(kCode + 0x1000, kOther + 0x1000, kRx);
  set(5, 0);
  set(10, 1000);
  go(3010, kCode + 4094 - 4);
  EXPECT_EQ(jit.x(5), 3000u);
  EXPECT_LE(statistics().interpreted, 2u);
  EXPECT_LE(statistics().dispatches, 20u);
}

// Its second page becomes another one, and that page's address is what the fence names.
TEST_F(JitPagingTest, AFenceOfTheSecondPageIsOneOfAnInstructionAcrossPages) {
  both([](PagingHart& hart) {
    hart.poke(BareHart::kCode + 4094, static_cast<std::uint16_t>(as::addi(5, 5, 1)));
    for (const auto& [page, value] : {std::pair{kOther, 1}, std::pair{kOther + 0x1000, 1000}}) {
      hart.poke(page, static_cast<std::uint16_t>(as::addi(5, 5, value) >> 16));
      hart.poke(page + 2, kReturn);
    }
  });
  show_entry(6, kCode + 0x1000, kOther, kRx);
  set(7, entry_of(kOther + 0x1000, kRx));
  set(10, 100);
  set(11, kCode + 0x1000);
  program({as::jal(1, 0xffe), as::addi(10, 10, -1), as::b_type(-8, 0, 10, 1), as::store(3, 7, 6, 0),
           sfence(11), as::jal(1, 0xffe - 20), as::jal(0, 0)});
  go(5 * 100 + 10);
  EXPECT_EQ(jit.x(5), 1100u);
}

// Its second half is rewritten through another address.
TEST_F(JitPagingTest, AnInstructionAcrossPagesIsWatchedInBoth) {
  map(kCode + 0x1000, kOther, kRx);
  map(kCode + 0x2000, kOther, kRw);
  both([](PagingHart& hart) {
    hart.poke(BareHart::kCode + 4094, static_cast<std::uint16_t>(as::addi(5, 5, 1)));
    hart.poke(kOther, static_cast<std::uint16_t>(as::addi(5, 5, 1) >> 16));
    hart.poke(kOther + 2, kReturn);
  });
  program({as::jal(1, 0xffe), as::store(1, 7, 6, 0), as::kFenceI, as::jal(1, 0xffe - 12),
           as::addi(9, 9, -1), as::b_type(-20, 0, 9, 1), as::jal(0, 0)});
  set(6, kCode + 0x2000);
  set(7, as::addi(5, 5, 100) >> 16);
  set(9, 50);
  go(11 * 50);
  EXPECT_EQ(jit.x(9), 0u);
  EXPECT_EQ(jit.x(5), 1u + 99u * 100u);
}

struct Fault {
  std::uint32_t instruction;  // of the address in x6
  std::uint64_t offset;       // of that, from the present page on
  std::uint64_t stval;
  std::uint64_t cause;
};

// The pages behind the data: absent, read-only, execute-only.
constexpr Fault kFaults[] = {
    {as::load(3, 9, 6, 0), 0x1000, 0x1000, 13},  {as::store(3, 9, 6, 0), 0x1008, 0x1008, 15},
    {as::load(3, 9, 6, 0), 0xffc, 0x1000, 13},   {as::store(3, 9, 6, 0), 0xffc, 0x1000, 15},
    {as::load(0, 0, 6, 0), 0x1001, 0x1001, 13},  {as::store(2, 9, 6, 0), 0x2ffe, 0x2ffe, 15},
    {as::store(1, 9, 6, 0), 0x1fff, 0x1fff, 15}, {as::load(2, 9, 6, 0), 0x2ffe, 0x3000, 13},
    {as::load(5, 9, 6, 0), 0x3000, 0x3000, 13},  {as::amo(0, 3, 9, 6, 5), 0x1000, 0x1000, 15},
    {as::amo(2, 3, 9, 6, 0), 0x1000, 0x1000, 13}};

// In the middle of a block that has run to its end before.
TEST_F(JitPagingTest, PageFaultsAreAtTheirInstruction) {
  const std::uint64_t data = PagingHart::kVirtualData;
  map(data + 0x2000, BareHart::kData + 0x2000, kV | kR | kA);
  map(data + 0x3000, BareHart::kData + 0x3000, kV | kX | kA);
  for (const Fault& fault : kFaults) {
    set(5, 0);
    set(8, data);
    set(6, data);
    program({as::addi(5, 5, 1), as::load(3, 10, 8, 0), fault.instruction, as::store(3, 5, 8, 16),
             as::addi(5, 5, 1), as::jal(0, 0)});
    both([](PagingHart& hart) {
      hart.state().csrs.scause = 0;
      hart.hart().forget_code();
    });
    go(6);
    EXPECT_EQ(jit.state().csrs.scause, 0u);
    set(6, data + fault.offset);
    go(6);
    EXPECT_EQ(jit.state().csrs.scause, fault.cause) << std::hex << fault.instruction;
    EXPECT_EQ(jit.state().csrs.sepc, kCode + 8);
    EXPECT_EQ(jit.state().csrs.stval, data + fault.stval);
    EXPECT_EQ(jit.x(5), 3u);
  }
}

// One function, called with the bit set until it has been translated, then without it.
TEST_F(JitPagingTest, CodeThatRanWithSumOrMxrDoesWithoutThem) {
  const std::uint64_t function = kCode + 0x40, page = PagingHart::kVirtualData + 0x1000;
  map(page, BareHart::kData, kRw | kU);
  map(page + 0x1000, BareHart::kData, kV | kX | kA);
  program({as::load(3, 9, 6, 0), kReturn}, BareHart::kCode + 0x40);
  program({as::csrrs(0, kSstatus, 7), as::jal(1, 0x3c), as::addi(10, 10, -1),
           as::b_type(-8, 0, 10, 1), as::csr(3, 0, 7, kSstatus), as::jal(1, 0x2c), as::jal(0, 0)});
  for (const auto& [address, bit] :
       {std::pair{page, kMstatusSum}, std::pair{page + 0x1000, kMstatusMxr}}) {
    both([](PagingHart& hart) { hart.state().csrs.scause = 0; });
    set(6, address);
    set(7, bit);
    set(10, 50);
    go(5 * 50);
    EXPECT_EQ(jit.state().csrs.scause, 0u);
    go(10, kCode + 16);
    EXPECT_EQ(jit.state().csrs.scause, 13u);
    EXPECT_EQ(jit.state().csrs.sepc, function);
  }
}

// The same address in M-mode, which means itself, and in S-mode, which means another page.
TEST_F(JitPagingTest, MachineAndSupervisorModeRunDifferentCodeAtOneAddress) {
  map(BareHart::kCode, kOther, kRx);
  program({as::addi(5, 5, 1), as::kMret});
  program({as::addi(5, 5, 100), as::kEcall}, kOther);
  program({as::csrrw(0, kMepc, 8), as::i_type(0, 8, 0, 0, 0x67)}, BareHart::kHandler);
  set(8, BareHart::kCode);
  both([](PagingHart& hart) {
    hart.state().csrs.mstatus = std::uint64_t{1} << 11;  // MPP = S
    hart.state().csrs.mepc = BareHart::kCode;
  });
  // MRET leaves MPP as U: the trap sets it again.
  go(5 * 100, BareHart::kCode, Privilege::kMachine);
  EXPECT_EQ(jit.x(5), 100u * 101);
}

TEST_F(JitPagingTest, MachineModesLoadsFollowMprv) {
  map(BareHart::kData, BareHart::kData + 0x1000, kRw);
  both([](PagingHart& hart) {
    hart.poke<std::uint64_t>(BareHart::kData, 1);
    hart.poke<std::uint64_t>(BareHart::kData + 0x1000, 1000);
  });
  set(6, BareHart::kData);
  set(7, kMstatusMprv | std::uint64_t{1} << 11);
  program(
      {as::load(3, 9, 6, 0), as::op(0, 0, 5, 5, 9), as::csrrw(7, kMstatus, 7), as::jal(0, -12)});
  both([](PagingHart& hart) { hart.state().csrs.mstatus = 0; });
  go(4 * 100, BareHart::kCode, Privilege::kMachine);
  EXPECT_EQ(jit.x(5), 50u * 1001);
}

TEST_F(JitPagingTest, APageOfUsersIsNotForSupervisorModeToRun) {
  map(kCode, BareHart::kCode, kRx | kU);
  program({as::addi(5, 5, 1), as::jal(0, -4)});
  go(100, kCode, Privilege::kUser);
  EXPECT_EQ(jit.x(5), 50u);
  go(10);
  EXPECT_EQ(jit.state().csrs.scause, 12u);
  EXPECT_EQ(jit.x(5), 50u);
}

// Adds the number of the round: the instruction is rewritten each time, and run through two
// addresses, neither of them the one that it is written through.
class RewritingTest : public JitPagingTest {
 protected:
  static constexpr unsigned kRounds = 100;

  RewritingTest() {
    map(kCode + 0x1000, kOther, kRx);
    map(kCode + 0x2000, kOther, kRx);
    program({as::kNop, kReturn}, kOther);
    set(7, as::addi(5, 5, 0));
    set(9, kRounds);
    program({as::u_type(0x100, 12, 0x37), as::op(0, 0, 7, 7, 12), as::store(2, 7, 6, 0),
             as::kFenceI, as::jal(1, 0x1000 - 16), as::jal(1, 0x2000 - 20), as::addi(9, 9, -1),
             as::b_type(-28, 0, 9, 1), as::jal(0, 0)});
  }
  void expect_all_rounds() {
    go(12 * kRounds + 5);
    EXPECT_EQ(jit.x(9), 0u);
    EXPECT_EQ(jit.x(5), 2u * (kRounds * (kRounds + 1) / 2));
    EXPECT_GE(statistics().invalidated, 2 * kRounds - 2);
  }
};

TEST_F(RewritingTest, ThroughAnotherAddressOfThePage) {
  map(kCode + 0x3000, kOther, kRw);
  set(6, kCode + 0x3000);
  expect_all_rounds();
}

// Writes what its register is given to memory.
class Doorbell : public vm_mem::MmioHandler {
 public:
  explicit Doorbell(vm_mem::MemoryManager& memory) : dma_(memory, this) {}

  vm_mem::AccessFault mmio_read(std::uint64_t, unsigned, std::uint64_t& value) override {
    value = 0;
    return vm_mem::AccessFault::kNone;
  }
  vm_mem::AccessFault mmio_write(std::uint64_t, unsigned, std::uint64_t value) override {
    EXPECT_TRUE(dma_.store(kOther, static_cast<std::uint32_t>(value)).ok());
    return vm_mem::AccessFault::kNone;
  }

 private:
  vm_device::DmaSpace dma_;
};

TEST_F(RewritingTest, ByADevice) {
  constexpr std::uint64_t kDevice = 0x1000'0000;
  const auto range = vm_mem::GuestRange::make(vm_mem::GuestAddress{kDevice}, 4096);
  Doorbell first(jit.memory()), second(interpreter.memory());
  ASSERT_TRUE(jit.memory().add_mmio(*range, &first).ok());
  ASSERT_TRUE(interpreter.memory().add_mmio(*range, &second).ok());
  map(kCode + 0x3000, kDevice, kRw);
  set(6, kCode + 0x3000);
  expect_all_rounds();
}

TEST_F(JitPagingTest, CodeThatTheHostWritesIsRun) {
  program({as::addi(5, 0, 1), as::jal(0, -4)});
  go(100);
  program({as::addi(5, 0, 2)});
  both([](PagingHart& hart) { hart.hart().forget_code(); });
  go(4);
  EXPECT_EQ(jit.x(5), 2u);
}

}  // namespace
}  // namespace vmrun
