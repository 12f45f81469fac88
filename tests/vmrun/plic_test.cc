#include "tools/vmrun/plic.h"

#include <gtest/gtest.h>

namespace vmrun {
namespace {

using vm_device::Level;
using vm_mem::AccessFault;

constexpr std::uint64_t kEnable = 0x2000;
constexpr std::uint64_t kThreshold = 0x200000;
constexpr std::uint64_t kClaim = 0x200004;

class PlicTest : public testing::Test {
 protected:
  std::uint64_t read(std::uint64_t offset) {
    std::uint64_t value = 0;
    EXPECT_EQ(plic_.mmio_read(offset, 4, value), AccessFault::kNone);
    return value;
  }
  void write(std::uint64_t offset, std::uint64_t value) {
    EXPECT_EQ(plic_.mmio_write(offset, 4, value), AccessFault::kNone);
  }
  void enable(unsigned source, unsigned priority) {
    write(4 * source, priority);
    write(kEnable, read(kEnable) | (1u << source));
  }
  bool interrupts() const { return (pins_.bits() & mask_of(Interrupt::kExternal)) != 0; }

  InterruptPins pins_;
  Plic plic_{{&pins_}};
};

TEST_F(PlicTest, AnEnabledSourceInterruptsUntilItIsClaimed) {
  enable(10, 1);
  EXPECT_FALSE(interrupts());
  plic_.line(10).set(Level::kHigh);
  EXPECT_TRUE(interrupts());
  EXPECT_EQ(read(0x1000), 1u << 10);
  EXPECT_EQ(read(kClaim), 10u);
  EXPECT_FALSE(interrupts());
  EXPECT_EQ(read(kClaim), 0u);
}

TEST_F(PlicTest, ALineThatIsStillHighInterruptsAgainAfterCompletion) {
  enable(10, 1);
  plic_.line(10).set(Level::kHigh);
  EXPECT_EQ(read(kClaim), 10u);
  write(kClaim, 10);
  EXPECT_TRUE(interrupts());
  EXPECT_EQ(read(kClaim), 10u);
  plic_.line(10).set(Level::kLow);
  write(kClaim, 10);
  EXPECT_FALSE(interrupts());
}

TEST_F(PlicTest, CompletingAnotherSourceChangesNothing) {
  enable(10, 1);
  plic_.line(10).set(Level::kHigh);
  EXPECT_EQ(read(kClaim), 10u);
  write(kClaim, 9);
  write(kClaim, 99);
  EXPECT_FALSE(interrupts());
}

TEST_F(PlicTest, TheHighestPriorityIsClaimedFirstThenTheLowestNumber) {
  enable(3, 1);
  enable(5, 2);
  enable(7, 2);
  for (const unsigned source : {3u, 5u, 7u}) plic_.line(source).set(Level::kHigh);
  EXPECT_EQ(read(kClaim), 5u);
  EXPECT_EQ(read(kClaim), 7u);
  EXPECT_EQ(read(kClaim), 3u);
}

TEST_F(PlicTest, TheThresholdKeepsEqualPrioritiesOut) {
  enable(3, 2);
  plic_.line(3).set(Level::kHigh);
  write(kThreshold, 2);
  EXPECT_FALSE(interrupts());
  write(kThreshold, 1);
  EXPECT_TRUE(interrupts());
}

TEST_F(PlicTest, PriorityZeroNeverInterrupts) {
  enable(3, 0);
  plic_.line(3).set(Level::kHigh);
  EXPECT_FALSE(interrupts());
  EXPECT_EQ(read(kClaim), 0u);
}

TEST_F(PlicTest, DisabledSourcesArePendingOnly) {
  write(4 * 3, 1);
  plic_.line(3).set(Level::kHigh);
  EXPECT_EQ(read(0x1000), 8u);
  EXPECT_FALSE(interrupts());
}

TEST_F(PlicTest, RegistersKeepWhatTheyCanHold) {
  write(4, 0xffffffff);
  EXPECT_EQ(read(4), Plic::kMaxPriority);
  write(kEnable, 0xffffffff);
  EXPECT_EQ(read(kEnable), 0xfffffffeu);
  write(0, 5);
  EXPECT_EQ(read(0), 0u);
  write(0x2080, 1);  // another context
  EXPECT_EQ(read(0x2080), 0u);
}

TEST_F(PlicTest, SupervisorModeHasAContextOfItsOwn) {
  constexpr std::uint64_t kSupervisorEnable = kEnable + 0x80;
  constexpr std::uint64_t kSupervisorClaim = kClaim + 0x1000;
  const std::uint64_t supervisor = mask_of(Interrupt::kSupervisorExternal);
  write(4 * 3, 1);
  write(kSupervisorEnable, 1u << 3);
  EXPECT_EQ(read(kEnable), 0u);
  plic_.line(3).set(Level::kHigh);
  EXPECT_EQ(pins_.bits(), supervisor);
  EXPECT_EQ(read(kClaim), 0u);
  write(kThreshold + 0x1000, 1);
  EXPECT_EQ(pins_.bits(), 0u);
  write(kThreshold + 0x1000, 0);
  EXPECT_EQ(read(kSupervisorClaim), 3u);
  EXPECT_EQ(pins_.bits(), 0u);
  write(kSupervisorClaim, 3);
  EXPECT_EQ(pins_.bits(), supervisor);
  EXPECT_EQ(read(kSupervisorEnable + 0x80), 0u);  // no such hart
  EXPECT_EQ(read(kSupervisorClaim + 0x1000), 0u);
}

TEST_F(PlicTest, RefusesOtherWidths) {
  std::uint64_t value = 0;
  EXPECT_EQ(plic_.mmio_read(0, 8, value), AccessFault::kDevice);
  EXPECT_EQ(plic_.mmio_write(4, 1, 1), AccessFault::kDevice);
}

}  // namespace
}  // namespace vmrun
