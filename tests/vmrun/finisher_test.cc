#include "tools/vmrun/finisher.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

namespace vmrun {
namespace {

TEST(FinisherTest, KnowsItsThreeWords) {
  std::vector<Finish> got;
  Finisher finisher([&got](Finish finish) { got.push_back(finish); });
  finisher.mmio_write(0, 4, 0x5555);
  finisher.mmio_write(0, 4, 0x7777);
  finisher.mmio_write(0, 4, 0x002a3333);
  EXPECT_THAT(got,
              testing::ElementsAre(Finish{FinishKind::kPowerOff, 0}, Finish{FinishKind::kReset, 0},
                                   Finish{FinishKind::kFail, 42}));
}

TEST(FinisherTest, IgnoresEverythingElse) {
  std::vector<Finish> got;
  Finisher finisher([&got](Finish finish) { got.push_back(finish); });
  finisher.mmio_write(0, 4, 0);
  finisher.mmio_write(4, 4, 0x5555);
  finisher.mmio_write(0, 1, 0x55);
  std::uint64_t value = 7;
  finisher.mmio_read(0, 4, value);
  EXPECT_EQ(value, 0u);
  EXPECT_TRUE(got.empty());
}

}  // namespace
}  // namespace vmrun
