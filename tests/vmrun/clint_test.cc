#include "tools/vmrun/clint.h"

#include <gtest/gtest.h>

namespace vmrun {
namespace {

using vm_mem::AccessFault;

class ClintTest : public testing::Test {
 protected:
  std::uint64_t read(std::uint64_t offset, unsigned size = 8) {
    std::uint64_t value = 0;
    EXPECT_EQ(clint_.mmio_read(offset, size, value), AccessFault::kNone);
    return value;
  }
  void write(std::uint64_t offset, std::uint64_t value, unsigned size = 8) {
    EXPECT_EQ(clint_.mmio_write(offset, size, value), AccessFault::kNone);
  }
  bool pending(Interrupt interrupt) const { return (pins_.bits() & mask_of(interrupt)) != 0; }

  Clock clock_;
  InterruptPins pins_;
  int rearmed_ = 0;
  Clock second_clock_;
  InterruptPins second_pins_;
  Clint clint_{{{&clock_, &pins_}, {&second_clock_, &second_pins_}}, [this] { ++rearmed_; }};
};

TEST_F(ClintTest, TheTimerInterruptIsTimeNotBelowTheDeadline) {
  write(0x4000, 100);
  EXPECT_FALSE(pending(Interrupt::kTimer));
  EXPECT_EQ(clint_.ticks_left(0), 100u);
  clock_.skip(99);
  clint_.update();
  EXPECT_FALSE(pending(Interrupt::kTimer));
  clock_.retire(kInstructionsPerTick);
  clint_.update();
  EXPECT_TRUE(pending(Interrupt::kTimer));
  EXPECT_EQ(clint_.ticks_left(0), 0u);
  write(0x4000, 101);
  EXPECT_FALSE(pending(Interrupt::kTimer));
  EXPECT_EQ(rearmed_, 2);
}

TEST_F(ClintTest, WithoutADeadlineTheTimerNeverComes) {
  EXPECT_EQ(clint_.ticks_left(0), UINT64_MAX);
  clint_.update();
  EXPECT_FALSE(pending(Interrupt::kTimer));
}

TEST_F(ClintTest, HalvesOfRegistersCanBeUsed) {
  write(0x4000, 0x11111111, 4);
  write(0x4004, 0x22222222, 4);
  EXPECT_EQ(read(0x4000), 0x2222222211111111u);
  EXPECT_EQ(read(0x4004, 4), 0x22222222u);
  write(0xbff8, 0x300000004);
  EXPECT_EQ(read(0xbff8, 4), 4u);
  EXPECT_EQ(read(0xbffc, 4), 3u);
  EXPECT_EQ(clock_.ticks(), 0x300000004u);
}

TEST_F(ClintTest, MsipIsOneBit) {
  write(0, 0xffffffff, 4);
  EXPECT_EQ(read(0, 4), 1u);
  EXPECT_TRUE(pending(Interrupt::kSoftware));
  write(0, 0xfffffffe, 4);
  EXPECT_FALSE(pending(Interrupt::kSoftware));
}

TEST_F(ClintTest, OtherHartsAreNotThere) {
  write(8, 1, 4);
  write(0x4010, 1);
  EXPECT_EQ(read(8, 4), 0u);
  EXPECT_EQ(read(0x4010), 0u);
  EXPECT_EQ(pins_.bits() | second_pins_.bits(), 0u);
}

TEST_F(ClintTest, EveryHartHasRegistersOfItsOwn) {
  write(4, 1, 4);
  EXPECT_EQ(read(0), std::uint64_t{1} << 32);
  EXPECT_EQ(pins_.bits(), 0u);
  EXPECT_EQ(second_pins_.bits(), mask_of(Interrupt::kSoftware));
  write(4, 0, 4);
  write(0x4008, 50);
  second_clock_.skip(50);
  clint_.update();
  EXPECT_EQ(second_pins_.bits(), mask_of(Interrupt::kTimer));
  EXPECT_EQ(pins_.bits(), 0u);
  EXPECT_EQ(read(0xbff8), 0u);
  clint_.run_on(1);
  EXPECT_EQ(read(0xbff8), 50u);
  write(0xbff8, 7);
  EXPECT_EQ(clock_.ticks(), 7u);
  EXPECT_EQ(second_clock_.ticks(), 7u);
}

TEST_F(ClintTest, RefusesNarrowAccesses) {
  std::uint64_t value = 0;
  EXPECT_EQ(clint_.mmio_read(0xbff8, 2, value), AccessFault::kDevice);
  EXPECT_EQ(clint_.mmio_write(0, 1, 1), AccessFault::kDevice);
}

}  // namespace
}  // namespace vmrun
