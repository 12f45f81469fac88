#include "tools/vmrun/csr.h"

#include <gtest/gtest.h>

#include <initializer_list>

#include "tests/vmrun/assembler.h"
#include "tests/vmrun/bare_hart.h"

namespace vmrun {
namespace {

namespace as = assembler;

std::uint64_t read_back(std::uint16_t number, std::uint64_t value) {
  HartState hart;
  EXPECT_TRUE(write_csr(hart, number, value));
  std::uint64_t got = 0;
  EXPECT_TRUE(read_csr(hart, number, got));
  return got;
}

constexpr std::uint64_t kOnes = ~std::uint64_t{0};

TEST(CsrTest, WritableBitsAreTheManuals) {
  // mstatus: SD, SXL, UXL, TSR, TW, TVM, MXR, SUM, MPRV, FS, MPP, SPP, MPIE, SPIE, MIE, SIE
  EXPECT_EQ(read_back(0x300, kOnes), 0x8000'000a'007e'79aau);
  EXPECT_EQ(read_back(0x301, 0), kMisa);                                // misa is fixed
  EXPECT_EQ(read_back(0x302, kOnes), 0xb3ffu);                          // medeleg
  EXPECT_EQ(read_back(0x303, kOnes), 0x222u);                           // mideleg
  EXPECT_EQ(read_back(0x304, kOnes), 0xaaau);                           // mie
  EXPECT_EQ(read_back(0x305, kOnes), kOnes - 2);                        // mtvec: modes 0 and 1
  EXPECT_EQ(read_back(0x306, kOnes), 0xffffffffu);                      // mcounteren
  EXPECT_EQ(read_back(0x30a, kOnes), (std::uint64_t{1} << 61) + 0xf1);  // menvcfg: ADUE, CB*, FIOM
  EXPECT_EQ(read_back(0x340, kOnes), kOnes);                            // mscratch
  EXPECT_EQ(read_back(0x341, kOnes), kOnes - 1);                        // mepc
  EXPECT_EQ(read_back(0x342, kOnes), kOnes);                            // mcause
  EXPECT_EQ(read_back(0x343, kOnes), kOnes);                            // mtval
  EXPECT_EQ(read_back(0x344, kOnes), 0x222u);  // mip: the rest is the devices'
  EXPECT_EQ(read_back(0x100, kOnes),
            0x8000'0002'000c'6122u);              // sstatus: UXL, MXR, SUM, FS, SPP, SPIE, SIE
  EXPECT_EQ(read_back(0x105, kOnes), kOnes - 2);  // stvec
  EXPECT_EQ(read_back(0x10a, kOnes), 0xf1u);      // senvcfg: CB*, FIOM
  EXPECT_EQ(read_back(0x141, kOnes), kOnes - 1);  // sepc
}

TEST(CsrTest, MppRefusesModesThatDoNotExist) {
  HartState hart;
  ASSERT_TRUE(write_csr(hart, 0x300, 1 << 11));  // S
  EXPECT_EQ(hart.csrs.mstatus & kMstatusMpp, std::uint64_t{1} << 11);
  ASSERT_TRUE(write_csr(hart, 0x300, 0));
  ASSERT_TRUE(write_csr(hart, 0x300, 2 << 11));
  EXPECT_EQ(hart.csrs.mstatus & kMstatusMpp, 0u);
}

TEST(CsrTest, SatpRefusesModesThatDoNotExist) {
  constexpr std::uint64_t kSv39 = 0x8000'0000'0008'0012, kSv57 = 0xa000'0000'0000'0001;
  HartState hart;
  ASSERT_TRUE(write_csr(hart, 0x180, kSv39 | (std::uint64_t{5} << 44)));
  EXPECT_EQ(hart.csrs.satp, kSv39);  // no address space identifiers
  ASSERT_TRUE(write_csr(hart, 0x180, kSv57));
  EXPECT_EQ(hart.csrs.satp, kSv39);
}

TEST(CsrTest, SupervisorModeSeesTheInterruptsThatAreItsOwn) {
  HartState hart;
  hart.csrs.mideleg = 0x202;
  hart.csrs.mip = 0x22;
  hart.pins.raise(Interrupt::kSupervisorExternal);
  std::uint64_t value = 0;
  ASSERT_TRUE(read_csr(hart, 0x144, value));
  EXPECT_EQ(value, 0x202u);
  ASSERT_TRUE(write_csr(hart, 0x144, 0));
  EXPECT_EQ(hart.csrs.mip, 0x20u);
  hart.csrs.mie = 0x888;
  ASSERT_TRUE(write_csr(hart, 0x104, kOnes));
  EXPECT_EQ(hart.csrs.mie, 0xa8au);
}

TEST(CsrTest, ChangingMipDoesNotTakeUpThePins) {
  BareHart hart;
  hart.state().pins.raise(Interrupt::kSupervisorExternal);
  hart.x(6) = 0x20;
  hart.execute({as::csrrs(5, 0x344, 6)});
  EXPECT_EQ(hart.x(5), 0x200u);
  EXPECT_EQ(hart.state().csrs.mip, 0x20u);
}

TEST(CsrTest, ReservedCbieLeavesWhatWasThere) {
  for (const std::uint16_t number : {std::uint16_t{0x30a}, std::uint16_t{0x10a}}) {
    HartState hart;
    ASSERT_TRUE(write_csr(hart, number, 0x30));
    ASSERT_TRUE(write_csr(hart, number, 0xe0));  // CBIE = 2, CBCFE, CBZE
    std::uint64_t value = 0;
    ASSERT_TRUE(read_csr(hart, number, value));
    EXPECT_EQ(value, 0xf0u) << std::hex << number;
  }
}

TEST(CsrTest, PmpEntriesBeyondTheSixteenReadAsZero) {
  for (const std::uint16_t number :
       std::initializer_list<std::uint16_t>{0x3a4, 0x3ae, 0x3c0, 0x3ef}) {
    EXPECT_EQ(read_back(number, kOnes), 0u) << std::hex << number;
  }
  EXPECT_EQ(read_back(0x3a0, 0x1f00'0000'0000'0098), 0x1f00'0000'0000'0098u);
  EXPECT_EQ(read_back(0x3a0, 0x12), 0u);                                // NA4, W without R
  EXPECT_EQ(read_back(0x3bf, kOnes), (std::uint64_t{1} << 54) - 1024);  // the grain is a page
  HartState hart;
  std::uint64_t value = 0;
  EXPECT_FALSE(read_csr(hart, 0x3a1, value));  // RV32's
}

TEST(CsrTest, RegistersOfAbsentExtensionsAreIllegal) {
  HartState hart;
  std::uint64_t value = 7;
  for (const std::uint16_t number :
       std::initializer_list<std::uint16_t>{0x000, 0x001, 0x102, 0x181, 0x200, 0x2ff, 0x310, 0x7a0,
                                            0x7c0, 0x9ff, 0xb01, 0xb20, 0xc20, 0xf10, 0xf16}) {
    EXPECT_FALSE(read_csr(hart, number, value)) << std::hex << number;
    EXPECT_FALSE(write_csr(hart, number, 0)) << std::hex << number;
  }
  EXPECT_EQ(value, 7u);
}

TEST(CsrTest, IdentityIsReadOnlyAndZero) {
  HartState hart;
  for (std::uint16_t number = 0xf11; number <= 0xf15; ++number) {
    std::uint64_t value = 7;
    EXPECT_TRUE(read_csr(hart, number, value));
    EXPECT_EQ(value, 0u);
    EXPECT_FALSE(write_csr(hart, number, 1));
  }
}

TEST(CsrTest, CountersAreReachedWhereBothCounterensLetThem) {
  HartState hart;
  hart.privilege = Privilege::kUser;
  std::uint64_t value = 0;
  EXPECT_FALSE(read_csr(hart, 0xc00, value));
  EXPECT_FALSE(read_csr(hart, 0x300, value));
  EXPECT_FALSE(read_csr(hart, 0xb00, value));
  hart.csrs.mcounteren = 2;
  EXPECT_FALSE(read_csr(hart, 0xc00, value));
  EXPECT_FALSE(read_csr(hart, 0xc01, value));
  hart.csrs.scounteren = 2;
  EXPECT_TRUE(read_csr(hart, 0xc01, value));
  hart.privilege = Privilege::kSupervisor;
  hart.csrs.mcounteren = std::uint64_t{1} << 31;
  EXPECT_TRUE(read_csr(hart, 0xc1f, value));
}

TEST(CsrTest, TimeIsTheClocks) {
  HartState hart;
  hart.clock.retire(1000);
  hart.clock.skip(7);
  std::uint64_t value = 0;
  ASSERT_TRUE(read_csr(hart, 0xc01, value));
  EXPECT_EQ(value, 1000 / kInstructionsPerTick + 7);
}

TEST(CsrTest, CountersCountTheInstructionsBetweenTwoReads) {
  BareHart hart;
  hart.execute(
      {as::csrrs(5, 0xb02, 0), as::kNop, as::kNop, as::csrrs(6, 0xc02, 0), as::csrrs(7, 0xc00, 0)});
  EXPECT_EQ(hart.x(6) - hart.x(5), 3u);
  EXPECT_EQ(hart.x(7) - hart.x(6), 1u);
}

TEST(CsrTest, AWrittenCounterGoesOnFromThere) {
  BareHart hart;
  hart.x(6) = 1000;
  hart.execute({as::csrrw(0, 0xb02, 6), as::csrrs(5, 0xb02, 0), as::csrrs(7, 0xb02, 0)});
  EXPECT_EQ(hart.x(5), 1000u);
  EXPECT_EQ(hart.x(7), 1001u);
}

TEST(CsrTest, InstructionsReadModifyAndWrite) {
  BareHart hart;
  hart.state().csrs.mscratch = 0xf0;
  hart.x(6) = 0x3c;
  hart.execute({as::csrrs(5, 0x340, 6), as::csr(3, 7, 6, 0x340), as::csrrw(6, 0x340, 6)});
  EXPECT_EQ(hart.x(5), 0xf0u);
  EXPECT_EQ(hart.x(7), 0xfcu);
  EXPECT_EQ(hart.x(6), 0xc0u);
  EXPECT_EQ(hart.state().csrs.mscratch, 0x3cu);
  hart.execute({as::csr(6, 5, 3, 0x340), as::csr(7, 6, 1, 0x340), as::csr(5, 7, 31, 0x340)});
  EXPECT_EQ(hart.x(5), 0x3cu);
  EXPECT_EQ(hart.x(6), 0x3fu);
  EXPECT_EQ(hart.x(7), 0x3eu);
  EXPECT_EQ(hart.state().csrs.mscratch, 31u);
}

TEST(CsrTest, OnlyARealWriteToAReadOnlyRegisterIsIllegal) {
  BareHart hart;
  hart.execute({as::csrrs(5, 0xf14, 0), as::csr(6, 5, 0, 0xf14)});
  EXPECT_EQ(hart.state().csrs.mcause, 0u);
  const std::uint32_t write = as::csrrs(5, 0xf14, 6);
  hart.x(5) = 42;
  hart.execute({write, as::kNop});
  EXPECT_EQ(hart.state().csrs.mcause, 2u);
  EXPECT_EQ(hart.state().csrs.mtval, write);
  EXPECT_EQ(hart.x(5), 42u);
}

}  // namespace
}  // namespace vmrun
