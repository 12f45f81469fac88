#include "tools/vmrun/mmu.h"

#include <gtest/gtest.h>

#include <initializer_list>

#include "tests/vmrun/assembler.h"
#include "tests/vmrun/paging_hart.h"

namespace vmrun {
namespace {

namespace as = assembler;

constexpr std::uint32_t kLoad = as::load(3, 5, 6, 0);
constexpr std::uint32_t kStore = as::store(3, 5, 6, 0);
constexpr std::uint32_t kCall = as::i_type(0, 6, 0, 1, 0x67);  // jalr ra, 0(t1)

class MmuTest : public ExecutionTest {};
class PmpPagingTest : public ExecutionTest {};

TEST_P(MmuTest, ProgramsRunBehindTablesOfThreeAndFourLevels) {
  for (const unsigned levels : {3u, 4u}) {
    PagingHart hart(GetParam(), levels);
    hart.poke<std::uint64_t>(BareHart::kData, 41);
    hart.x(6) = PagingHart::kVirtualData;
    hart.run({kLoad, as::addi(5, 5, 1), kStore});
    EXPECT_EQ(hart.state().csrs.scause, 0u);
    EXPECT_EQ(hart.peek<std::uint64_t>(BareHart::kData), 42u);
    EXPECT_EQ(hart.state().pc, PagingHart::kVirtualCode + 12);
  }
}

struct Permission {
  std::uint64_t bits;
  std::uint32_t instruction;
  std::uint64_t supervisor, user;  // the causes
};

TEST_P(MmuTest, EntriesPermitWhatTheySay) {
  constexpr Permission kCases[] = {
      {kRw, kLoad, 0, 13},
      {kRw, kStore, 0, 15},
      {kRw, kCall, 12, 12},
      {kRw | kU, kLoad, 13, 0},
      {kRw | kU, kStore, 15, 0},
      {kRx, kStore, 15, 15},
      {kRx | kU, kCall, 12, 0},
      {kRx, kCall, 0, 12},
      {kV | kX | kA, kLoad, 13, 13},
      {0, kLoad, 13, 13},
      {0, kStore, 15, 15},
      {0, kCall, 12, 12},
      {kV | kW | kA | kD, kLoad, 13, 13},                      // W without R
      {kRw | std::uint64_t{1} << 54, kLoad, 13, 13},           // reserved
      {kRw | std::uint64_t{1} << 63, kLoad, 13, 13},           // Svnapot
      {PagingHart::pointer(BareHart::kData), kLoad, 13, 13}};  // no leaf
  for (const Permission& want : kCases) {
    PagingHart hart(GetParam());
    const std::uint64_t gva = PagingHart::kVirtualData + 0x1000;
    hart.map(PagingHart::kVirtualCode, BareHart::kCode, kRx);
    hart.map(gva, BareHart::kData + 0x1000, want.bits);
    hart.poke<std::uint32_t>(BareHart::kData + 0x1000, as::jal(0, 0));
    hart.x(6) = gva;
    EXPECT_EQ(hart.cause_of(want.instruction), want.supervisor) << std::hex << want.bits;
    if (want.supervisor != 0) {
      EXPECT_EQ(hart.state().csrs.stval, gva);
    }
    if (want.supervisor != 0 && want.instruction == kCall) {
      EXPECT_EQ(hart.state().csrs.sepc, gva);
    }
    hart.map(PagingHart::kVirtualCode, BareHart::kCode, kRx | kU);
    hart.hart().forget_translations();
    hart.run({want.instruction}, Privilege::kUser);
    EXPECT_EQ(hart.state().csrs.scause, want.user) << std::hex << want.bits;
  }
}

TEST_P(MmuTest, SumAndMxrWidenWhatSupervisorModeMayRead) {
  PagingHart hart(GetParam());
  const std::uint64_t user = PagingHart::kVirtualData + 0x1000, code = user + 0x1000;
  hart.map(user, BareHart::kData, kRw | kU);
  hart.map(code, BareHart::kData, kV | kX | kA);
  for (const auto& [address, bit, cause] :
       {std::tuple{user, kMstatusSum, 13u}, std::tuple{code, kMstatusMxr, 13u}}) {
    hart.x(6) = address;
    hart.x(7) = bit;
    EXPECT_EQ(hart.cause_of(kLoad), cause);
    hart.run({as::csrrs(0, 0x100, 7), kLoad});
    EXPECT_EQ(hart.state().csrs.scause, 0u);
    hart.run({as::csr(3, 0, 7, 0x100), kLoad});
    EXPECT_EQ(hart.state().csrs.scause, cause);
  }
  hart.state().csrs.mstatus |= kMstatusSum;
  hart.map(user, BareHart::kData, kRx | kU);
  hart.x(6) = user;
  EXPECT_EQ(hart.cause_of(kCall), 12u);  // never executed
}

TEST_P(MmuTest, MprvTakesThePrivilegeFromMpp) {
  PagingHart hart(GetParam());
  hart.poke<std::uint64_t>(BareHart::kData, 77);
  hart.x(6) = PagingHart::kVirtualData;
  hart.state().csrs.mstatus = kMstatusMprv | std::uint64_t{1} << 11;
  hart.execute({kLoad});
  EXPECT_EQ(hart.x(5), 77u);
  hart.state().csrs.mstatus = kMstatusMprv;  // U
  hart.execute({kLoad, as::kNop});
  EXPECT_EQ(hart.state().csrs.mcause, 13u);
}

TEST_P(MmuTest, MprvHeedsSumAndMxr) {
  constexpr std::uint64_t kAsSupervisor = kMstatusMprv | std::uint64_t{1} << 11;
  for (const auto& [bits, permission] :
       {std::pair{kRw | kU, kMstatusSum}, std::pair{kV | kX | kA, kMstatusMxr}}) {
    PagingHart hart(GetParam());
    hart.map(PagingHart::kVirtualData, BareHart::kData, bits);
    hart.poke<std::uint64_t>(BareHart::kData, 77);
    hart.x(6) = PagingHart::kVirtualData;
    hart.state().csrs.mstatus = kAsSupervisor | permission;
    hart.execute({kLoad});
    EXPECT_EQ(hart.state().csrs.mcause, 0u);
    EXPECT_EQ(hart.x(5), 77u);
    hart.state().csrs.mstatus = kAsSupervisor;
    hart.execute({kLoad, as::kNop});
    EXPECT_EQ(hart.state().csrs.mcause, 13u);
  }
}

TEST_P(MmuTest, AccessedAndDirtyAreSetWhenTheyBecomeTrue) {
  PagingHart hart(GetParam());
  const std::uint64_t gva = PagingHart::kVirtualData + 0x1000;
  const std::uint64_t entry = hart.map(gva, BareHart::kData, kV | kR | kW);
  hart.x(6) = gva;
  EXPECT_EQ(hart.cause_of(kLoad), 0u);
  EXPECT_EQ(hart.peek<std::uint64_t>(entry) & (kA | kD), kA);
  hart.run({kStore});  // the page is in the TLB by now
  EXPECT_EQ(hart.state().csrs.scause, 0u);
  EXPECT_EQ(hart.peek<std::uint64_t>(entry) & (kA | kD), kA | kD);
  hart.map(gva, BareHart::kData, kV | kR);
  EXPECT_EQ(hart.cause_of(kStore), 15u);
  EXPECT_EQ(hart.peek<std::uint64_t>(entry) & (kA | kD), 0u);
}

TEST_P(MmuTest, WithoutAdueTheyAreTheGuests) {
  PagingHart hart(GetParam());
  hart.state().csrs.menvcfg = 0;
  const std::uint64_t gva = PagingHart::kVirtualData + 0x1000;
  hart.x(6) = gva;
  hart.map(gva, BareHart::kData, kV | kR | kW);
  EXPECT_EQ(hart.cause_of(kLoad), 13u);
  const std::uint64_t entry = hart.map(gva, BareHart::kData, kV | kR | kW | kA);
  EXPECT_EQ(hart.cause_of(kLoad), 0u);
  EXPECT_EQ(hart.cause_of(kStore), 15u);
  EXPECT_EQ(hart.peek<std::uint64_t>(entry) & kD, 0u);
}

TEST_P(MmuTest, LargePagesAreOnePieceAndAligned) {
  PagingHart hart(GetParam());
  const std::uint64_t gva = PagingHart::kVirtualCode + 0x400'0000;
  hart.map(gva, BareHart::kCode, kRw, 1);
  hart.x(6) = gva + (BareHart::kData - BareHart::kCode) + 8;
  hart.x(5) = 99;
  EXPECT_EQ(hart.cause_of(kStore), 0u);
  EXPECT_EQ(hart.peek<std::uint64_t>(BareHart::kData + 8), 99u);
  hart.map(gva, BareHart::kCode + 0x1000, kRw, 1);
  EXPECT_EQ(hart.cause_of(kStore), 15u);
}

struct Size {
  unsigned levels, level;
  std::uint64_t gva, aligned, misaligned;
};

TEST_P(MmuTest, LargerPagesAreAlignedToo) {
  constexpr std::uint64_t kGiB = 1 << 30;
  for (const Size& size : {Size{3, 2, kGiB, BareHart::kCode, BareHart::kCode + (2 << 20)},
                           Size{4, 2, kGiB, BareHart::kCode, BareHart::kCode + (2 << 20)},
                           Size{4, 3, 512 * kGiB, 0, kGiB}}) {
    PagingHart hart(GetParam(), size.levels);
    hart.map(size.gva, size.aligned, kRw, size.level);
    hart.x(5) = 99;
    hart.x(6) = size.gva + (BareHart::kData - size.aligned) + 8;
    EXPECT_EQ(hart.cause_of(kStore), 0u) << size.level;
    EXPECT_EQ(hart.peek<std::uint64_t>(BareHart::kData + 8), 99u);
    hart.map(size.gva, size.misaligned, kRw, size.level);
    EXPECT_EQ(hart.cause_of(kStore), 15u) << size.level;
  }
}

// Adds a page of RAM when it is read.
class Grower : public vm_mem::MmioHandler {
 public:
  vm_mem::AccessFault mmio_read(std::uint64_t, unsigned, std::uint64_t& value) override {
    const auto range = vm_mem::GuestRange::make(vm_mem::GuestAddress{0x9000'0000}, 4096);
    value = memory->add_ram(*range).ok() ? 1 : 0;
    return vm_mem::AccessFault::kNone;
  }
  vm_mem::AccessFault mmio_write(std::uint64_t, unsigned, std::uint64_t) override {
    return vm_mem::AccessFault::kReadOnly;
  }

  vm_mem::MemoryManager* memory = nullptr;
};

// The load behind the device's enters a large page into a soft TLB that knows of the new
// map, which the hart follows only when the block is over.
TEST_P(MmuTest, AFenceForgetsALargePageThatWasEnteredWhileTheMapChanged) {
  Grower grower;
  PagingHart hart(GetParam());
  grower.memory = &hart.memory();
  constexpr std::uint64_t kDevice = 0x1000'0000;
  const auto range = vm_mem::GuestRange::make(vm_mem::GuestAddress{kDevice}, 4096);
  ASSERT_TRUE(hart.memory().add_mmio(*range, &grower).ok());
  hart.map(PagingHart::kVirtualData, kDevice, kRw);
  const std::uint64_t gva = PagingHart::kVirtualCode + 0x400'0000;
  const std::uint64_t entry = hart.map(gva, BareHart::kCode, kRw, 1);
  hart.x(8) = PagingHart::kVirtualData;
  hart.x(6) = gva + (BareHart::kData - BareHart::kCode);
  hart.x(7) = gva;
  hart.run({as::load(3, 9, 8, 0), kLoad});
  EXPECT_EQ(hart.state().csrs.scause, 0u);
  EXPECT_EQ(hart.x(9), 1u);
  hart.poke<std::uint64_t>(entry, 0);
  hart.run({sfence(7), kLoad});
  EXPECT_EQ(hart.state().csrs.scause, 13u);
}

TEST_P(MmuTest, AFenceOfOneAddressForgetsItsWholeLargePage) {
  PagingHart hart(GetParam());
  const std::uint64_t gva = PagingHart::kVirtualCode + 0x400'0000;
  const std::uint64_t entry = hart.map(gva, BareHart::kCode, kRw, 1);
  hart.x(6) = gva + (BareHart::kData - BareHart::kCode);
  hart.x(7) = gva;
  EXPECT_EQ(hart.cause_of(kLoad), 0u);
  hart.poke<std::uint64_t>(entry, 0);
  hart.run({sfence(7), kLoad});
  EXPECT_EQ(hart.state().csrs.scause, 13u);
}

TEST_P(MmuTest, ANewTranslationIsSeenBehindTheFence) {
  PagingHart hart(GetParam());
  hart.poke<std::uint64_t>(BareHart::kData + 0x1000, 1);
  hart.x(6) = hart.x(7) = PagingHart::kVirtualData;
  hart.run({kLoad});
  hart.map(PagingHart::kVirtualData, BareHart::kData + 0x1000, kRw);
  hart.run({sfence(7), kLoad});
  EXPECT_EQ(hart.x(5), 1u);
  hart.map(PagingHart::kVirtualData, BareHart::kData, kRw);
  hart.x(8) = hart.state().csrs.satp;
  hart.run({as::csrrw(0, 0x180, 8), kLoad});
  EXPECT_EQ(hart.x(5), 0u);
}

TEST_P(MmuTest, CodeFollowsThePageTables) {
  PagingHart hart(GetParam());
  const std::uint64_t gva = PagingHart::kVirtualData + 0x1000;
  hart.poke<std::uint32_t>(BareHart::kData, as::addi(5, 0, 1));
  hart.poke<std::uint32_t>(BareHart::kData + 4, as::i_type(0, 1, 0, 0, 0x67));  // ret
  hart.poke<std::uint32_t>(BareHart::kData + 0x1000, as::addi(5, 0, 2));
  hart.poke<std::uint32_t>(BareHart::kData + 0x1004, as::i_type(0, 1, 0, 0, 0x67));
  hart.map(gva, BareHart::kData, kRx);
  hart.x(6) = gva;
  hart.run({kCall, as::addi(8, 5, 0)});
  EXPECT_EQ(hart.x(8), 1u);
  hart.map(gva, BareHart::kData + 0x1000, kRx);
  hart.run({kSfenceAll, kCall, as::addi(8, 5, 0), as::kNop, as::kNop});
  EXPECT_EQ(hart.x(8), 2u);
}

TEST_P(MmuTest, AccessesThatStraddleFaultAtTheMissingPageAndDoNothing) {
  PagingHart hart(GetParam());
  hart.x(5) = ~std::uint64_t{0};
  hart.x(6) = PagingHart::kVirtualData + 4096 - 3;
  EXPECT_EQ(hart.cause_of(kStore), 15u);
  EXPECT_EQ(hart.state().csrs.stval, PagingHart::kVirtualData + 4096);
  EXPECT_EQ(hart.peek<std::uint64_t>(BareHart::kData + 4088), 0u);
  EXPECT_EQ(hart.cause_of(kLoad), 13u);
  EXPECT_EQ(hart.state().csrs.stval, PagingHart::kVirtualData + 4096);
  hart.map(PagingHart::kVirtualData + 4096, BareHart::kData, kRw);  // to the same page again
  EXPECT_EQ(hart.cause_of(kStore), 0u);
  EXPECT_EQ(hart.peek<std::uint64_t>(BareHart::kData) & 0xffffffffff, 0xffffffffffu);
  EXPECT_EQ(hart.peek<std::uint64_t>(BareHart::kData + 4088) >> 40, 0xffffffu);
}

TEST_P(MmuTest, AnInstructionThatStraddlesFaultsAtItsSecondHalf) {
  PagingHart hart(GetParam());
  hart.map(PagingHart::kVirtualData, BareHart::kData, kRx);
  hart.poke<std::uint16_t>(BareHart::kData + 4094, static_cast<std::uint16_t>(as::addi(5, 0, 7)));
  hart.x(6) = PagingHart::kVirtualData + 4094;
  EXPECT_EQ(hart.cause_of(kCall), 12u);
  EXPECT_EQ(hart.state().csrs.sepc, PagingHart::kVirtualData + 4094);
  EXPECT_EQ(hart.state().csrs.stval, PagingHart::kVirtualData + 4096);
  // Either half may become another page's.
  for (const int value : {7, 9}) {
    const std::uint64_t page = BareHart::kData + 0x1000 * (value == 7 ? 1u : 2u);
    hart.poke<std::uint16_t>(page, static_cast<std::uint16_t>(as::addi(5, 0, value) >> 16));
    hart.poke<std::uint32_t>(page + 2, as::jal(0, 0));
    hart.map(PagingHart::kVirtualData + 4096, page, kRx);
    EXPECT_EQ(hart.cause_of(kCall), 0u);
    EXPECT_EQ(hart.x(5), static_cast<std::uint64_t>(value));
  }
}

TEST_P(MmuTest, AddressesThatAreNotCanonicalFault) {
  for (const unsigned levels : {3u, 4u}) {
    PagingHart hart(GetParam(), levels);
    hart.x(6) = PagingHart::kVirtualData + (std::uint64_t{1} << (12 + 9 * levels));
    EXPECT_EQ(hart.cause_of(kLoad), 13u);
    EXPECT_EQ(hart.state().csrs.stval, hart.x(6));
  }
}

TEST_P(MmuTest, TablesWhereThereIsNoRamAreAccessFaults) {
  PagingHart hart(GetParam());
  const std::uint64_t gva = PagingHart::kVirtualData - 0x4000'0000;
  hart.poke<std::uint64_t>(PagingHart::entry_at(PagingHart::kRoot, gva, 2),
                           PagingHart::pointer(0x4000'0000));
  hart.x(6) = gva;
  EXPECT_EQ(hart.cause_of(kLoad), 5u);
  EXPECT_EQ(hart.cause_of(kStore), 7u);
  EXPECT_EQ(hart.cause_of(kCall), 1u);
  hart.map(PagingHart::kVirtualData, 0x4000'0000, kRw);  // a page where nothing is
  hart.x(6) = PagingHart::kVirtualData;
  EXPECT_EQ(hart.cause_of(kLoad), 5u);
}

TEST_P(MmuTest, AtomicsFaultAsStoresAndReservedLoadsAsLoads) {
  PagingHart hart(GetParam());
  hart.map(PagingHart::kVirtualData, BareHart::kData, kRx);
  hart.x(6) = PagingHart::kVirtualData;
  EXPECT_EQ(hart.cause_of(as::amo(0, 3, 5, 6, 7)), 15u);
  hart.map(PagingHart::kVirtualData, BareHart::kData, 0);
  EXPECT_EQ(hart.cause_of(as::amo(2, 3, 5, 6, 0)), 13u);
}

TEST_P(PmpPagingTest, ManagingABlockDirtiesNoPage) {
  constexpr std::uint32_t kClean = as::i_type(1, 6, 2, 0, 0x0f);
  PagingHart hart(GetParam());
  hart.state().csrs.menvcfg |= kEnvcfgCbcfe;
  hart.state().csrs.pmpcfg = {0x18, 0x1f};
  hart.state().csrs.pmpaddr = {BareHart::kData >> 2 | 0x1ff, ~std::uint64_t{0} >> 10};
  const std::uint64_t entry =
      hart.map(PagingHart::kVirtualData, BareHart::kData, kV | kR | kW | kA);
  hart.state().csrs.medeleg = 0;
  hart.x(6) = PagingHart::kVirtualData;
  hart.run({kClean});
  EXPECT_EQ(hart.state().csrs.mcause, 7u);
  EXPECT_EQ(hart.peek<std::uint64_t>(entry) & kD, 0u);
}

TEST_P(PmpPagingTest, PageTablesAreReadAsSupervisorMode) {
  PagingHart hart(GetParam());
  hart.state().csrs.pmpcfg = {0x18, 0x1f};
  hart.state().csrs.pmpaddr = {PagingHart::kRoot >> 2 | 0x1ff, ~std::uint64_t{0} >> 10};
  hart.state().csrs.medeleg = 0;
  hart.x(6) = PagingHart::kVirtualData;
  hart.run({kLoad});
  EXPECT_EQ(hart.state().csrs.mcause, 1u);
}

INSTANTIATE_TEST_SUITE_P(Executions, MmuTest, both_executions(), name_of_execution);
INSTANTIATE_TEST_SUITE_P(Executions, PmpPagingTest, both_executions(), name_of_execution);

}  // namespace
}  // namespace vmrun
