#include "tools/vmrun/flash.h"

#include <gtest/gtest.h>

namespace vmrun {
namespace {

using vm_mem::AccessFault;

class FlashTest : public testing::Test {
 protected:
  std::uint64_t read(std::uint64_t offset, unsigned size = 4) {
    std::uint64_t value = 0;
    EXPECT_EQ(flash_.mmio_read(offset, size, value), AccessFault::kNone);
    return value;
  }
  void command(std::uint64_t value, std::uint64_t offset = 0) {
    EXPECT_EQ(flash_.mmio_write(offset, 4, value), AccessFault::kNone);
  }

  Flash flash_;
};

TEST_F(FlashTest, IsBlank) {
  EXPECT_EQ(read(0), 0xffffffffu);
  EXPECT_EQ(read(0x1fffff8, 8), ~std::uint64_t{0});
  EXPECT_EQ(read(5, 1), 0xffu);
}

TEST_F(FlashTest, BothChipsAnswerTheQuery) {
  command(0x00980098, 4 * 0x55);
  EXPECT_EQ(read(4 * 0x10), 0x00510051u);
  EXPECT_EQ(read(4 * 0x11), 0x00520052u);
  EXPECT_EQ(read(4 * 0x12), 0x00590059u);
  EXPECT_EQ(read(4 * 0x27), 0x00180018u);  // 16 MiB a chip
  EXPECT_EQ(read(4 * 0x2d), 0x007f007fu);  // 128 blocks
  EXPECT_EQ(read(4 * 0x30), 0x00020002u);  // of 128 KiB
  command(0x00ff00ff);
  EXPECT_EQ(read(4 * 0x10), 0xffffffffu);
}

TEST_F(FlashTest, RefusesToEraseAndToProgram) {
  command(0x20);
  command(0xd0);
  EXPECT_EQ(read(0, 2), 0xa2u);  // ready, erase error, block locked
  command(0x50);
  command(0x70);
  EXPECT_EQ(read(0, 2), 0x80u);
  command(0x40);
  EXPECT_EQ(read(0, 2), 0x92u);
}

}  // namespace
}  // namespace vmrun
