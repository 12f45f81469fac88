#include "tools/vmrun/pmp.h"

#include <gtest/gtest.h>

#include <utility>

#include "tests/vmrun/assembler.h"
#include "tests/vmrun/bare_hart.h"

namespace vmrun {
namespace {

namespace as = assembler;

constexpr std::uint32_t kLoad = as::load(3, 5, 6, 0);
constexpr std::uint32_t kStore = as::store(3, 5, 6, 0);
constexpr std::uint32_t kCall = as::i_type(0, 6, 0, 1, 0x67);  // jalr ra, 0(t1)

// Entry 0: the second page of the data without W; entry 1: everything.
class PmpTest : public ExecutionTest {
 protected:
  static constexpr std::uint64_t kPage = BareHart::kData + 0x1000;

  PmpTest() {
    hart.state().csrs.pmpcfg = {0x18 | 1, 0x1f};
    hart.state().csrs.pmpaddr = {kPage >> 2 | 0x1ff, ~std::uint64_t{0} >> 10};
    hart.x(6) = kPage;
  }
  std::uint64_t cause_of(std::uint32_t word, Privilege privilege) {
    hart.state().privilege = privilege;
    hart.state().csrs.mcause = 0;
    hart.execute({word, as::kNop});
    return hart.state().csrs.mcause;
  }

  BareHart hart{GetParam()};
};

TEST_P(PmpTest, DeniesAllButMachineMode) {
  EXPECT_EQ(cause_of(kLoad, Privilege::kSupervisor), 0u);
  EXPECT_EQ(cause_of(kStore, Privilege::kSupervisor), 7u);
  EXPECT_EQ(cause_of(kCall, Privilege::kUser), 1u);
  EXPECT_EQ(cause_of(kStore, Privilege::kMachine), 0u);
  hart.x(6) = kPage + 4096;
  EXPECT_EQ(cause_of(kStore, Privilege::kUser), 0u);
  hart.x(6) = kPage - 4;  // half of it
  EXPECT_EQ(cause_of(kStore, Privilege::kUser), 7u);
  EXPECT_EQ(hart.state().csrs.mtval, kPage);
}

TEST_P(PmpTest, LockedEntriesBindMachineModeToo) {
  hart.x(7) = 0x1f99;
  EXPECT_EQ(cause_of(as::csrrw(0, 0x3a0, 7), Privilege::kMachine), 0u);
  EXPECT_EQ(cause_of(kStore, Privilege::kMachine), 7u);
  EXPECT_EQ(cause_of(kLoad, Privilege::kMachine), 0u);
  hart.x(7) = 0;
  EXPECT_EQ(cause_of(as::csrrw(0, 0x3b0, 7), Privilege::kMachine), 0u);  // no effect
  EXPECT_EQ(cause_of(as::csrrw(0, 0x3a0, 7), Privilege::kMachine), 0u);
  EXPECT_EQ(cause_of(kStore, Privilege::kMachine), 7u);
}

// A function that has been called often, over jumps that go there directly by then.
TEST_P(PmpTest, ALockedEntryEndsWhatWasTranslated) {
  constexpr int kFunction = static_cast<int>(kPage - BareHart::kCode);
  const std::uint32_t function[] = {as::addi(5, 5, 1), as::i_type(0, 1, 0, 0, 0x67)};
  const std::uint32_t words[] = {as::jal(1, kFunction), as::addi(9, 9, -1), as::b_type(-8, 0, 9, 1),
                                 as::csrrw(0, 0x3a0, 7), as::jal(0, -16)};
  hart.program(function, kPage);
  hart.program(words);
  hart.x(7) = 0x1f99;  // locked, without X
  hart.x(9) = 50;
  static_cast<void>(hart.hart().run(5 * 50));
  EXPECT_EQ(hart.x(5), 50u);
  EXPECT_EQ(hart.x(9), 0u);
  static_cast<void>(hart.hart().run(8));
  EXPECT_EQ(hart.state().csrs.mcause, 1u);
  EXPECT_EQ(hart.state().csrs.mepc, kPage);
  EXPECT_EQ(hart.x(5), 50u);
}

TEST_P(PmpTest, ARangeEndsBelowItsAddress) {
  const auto store_at = [this](std::uint64_t address) {
    hart.x(6) = address;
    return cause_of(kStore, Privilege::kUser);
  };
  hart.state().csrs.pmpcfg = {0x08 | 7, 0x08 | 1, 0x08 | 7};  // TOR, the page in the middle R
  hart.state().csrs.pmpaddr = {kPage >> 2, (kPage + 4096) >> 2, (kPage + 2 * 4096) >> 2};
  EXPECT_EQ(store_at(kPage - 8), 0u);
  EXPECT_EQ(store_at(kPage), 7u);
  EXPECT_EQ(store_at(kPage + 4088), 7u);
  EXPECT_EQ(store_at(kPage + 4096), 0u);
  EXPECT_EQ(store_at(kPage + 2 * 4096 - 8), 0u);
  EXPECT_EQ(store_at(kPage + 2 * 4096), 7u);
}

// The entry in front is off: the bound that its address gives counts all the same.
TEST_P(PmpTest, ARangeBeginsAtTheAddressInFrontOfIt) {
  hart.state().csrs.pmpcfg = {0x00, 0x08 | 3, 0x18 | 4};  // off; TOR RW; all X
  hart.state().csrs.pmpaddr = {kPage >> 2, (kPage + 4096) >> 2, ~std::uint64_t{0} >> 10};
  for (const auto& [address, cause] : {std::pair{kPage, 0u}, std::pair{kPage + 4088, 0u},
                                       std::pair{kPage - 8, 7u}, std::pair{kPage + 4096, 7u}}) {
    hart.x(6) = address;
    EXPECT_EQ(cause_of(kStore, Privilege::kUser), cause) << std::hex << address;
  }
}

TEST_P(PmpTest, ALockedRangeLocksTheAddressInFrontOfIt) {
  const auto written = [this](std::uint8_t config) {
    hart.state().csrs.pmpcfg = {0x00, config};
    hart.state().csrs.pmpaddr = {kPage >> 2, ~std::uint64_t{0} >> 10};
    hart.x(7) = 0;
    EXPECT_EQ(cause_of(as::csrrw(0, 0x3b0, 7), Privilege::kMachine), 0u);
    return hart.state().csrs.pmpaddr[0] == 0;
  };
  EXPECT_FALSE(written(0x80 | 0x08 | 7));  // TOR
  EXPECT_TRUE(written(0x08 | 7));          // not locked
  EXPECT_TRUE(written(0x80 | 0x18 | 7));   // NAPOT has no other bound
}

TEST_P(PmpTest, TheGrainIsReadAsTheModeHasIt) {
  for (const auto& [config, address] :
       {std::pair{0x18u, kPage >> 2 | 0x1ff}, std::pair{0x08u, kPage >> 2}}) {
    hart.state().csrs.pmpcfg[0] = static_cast<std::uint8_t>(config);
    hart.state().csrs.pmpaddr[0] = kPage >> 2 | 0x0f;
    EXPECT_EQ(cause_of(as::csrrs(7, 0x3b0, 0), Privilege::kMachine), 0u);
    EXPECT_EQ(hart.x(7), address) << std::hex << config;
  }
}

TEST_P(PmpTest, WithoutAnEntryOnlyMachineModeMayDoAnything) {
  hart.state().csrs.pmpcfg = {};
  EXPECT_EQ(cause_of(as::kNop, Privilege::kUser), 1u);
  EXPECT_EQ(cause_of(kStore, Privilege::kMachine), 0u);
}

INSTANTIATE_TEST_SUITE_P(Executions, PmpTest, both_executions(), name_of_execution);

}  // namespace
}  // namespace vmrun
