#include "vm_device/internal/iommu_epochs.h"

#include <gtest/gtest.h>

#include <memory>
#include <thread>

namespace vm_device::internal {
namespace {

TEST(IommuEpochsTest, AThreadHasOneStatePerObject) {
  IommuEpochs first;
  IommuEpochs second;
  IommuThread* const mine = first.thread();
  ASSERT_NE(mine, nullptr);
  EXPECT_NE(second.thread(), mine);
  EXPECT_EQ(first.thread(), mine);
  std::thread([&] { EXPECT_NE(first.thread(), mine); }).join();
}

TEST(IommuEpochsTest, AnObjectThatIsMadeWhereOneWasHasThreadsOfItsOwn) {
  auto epochs = std::make_unique<IommuEpochs>();
  epochs->enter(*epochs->thread());
  for (int i = 0; i < 10; ++i) {
    epochs = std::make_unique<IommuEpochs>();
    EXPECT_EQ(epochs->oldest(), UINT64_MAX);
    EXPECT_EQ(epochs->thread()->depth, 0);
    epochs->enter(*epochs->thread());
    EXPECT_NE(epochs->oldest(), UINT64_MAX);
  }
}

TEST(IommuEpochsTest, OnlyThoseThatBeganBeforeAreWaitedFor) {
  IommuEpochs epochs;
  IommuThread* const mine = epochs.thread();
  epochs.enter(*mine);
  const std::uint64_t epoch = epochs.advance();
  EXPECT_EQ(epochs.users_before(epoch).threads, 1u);
  EXPECT_LT(epochs.oldest(), epoch);
  IommuEpochs::leave(*mine);
  epochs.enter(*mine);
  EXPECT_EQ(epochs.users_before(epoch).threads, 0u);
  EXPECT_EQ(epochs.oldest(), epoch);
  IommuEpochs::leave(*mine);
}

TEST(IommuEpochsTest, DmaInsideDmaBeganWithTheOuterOne) {
  IommuEpochs epochs;
  IommuThread* const mine = epochs.thread();
  epochs.enter(*mine);
  const std::uint64_t epoch = epochs.advance();
  epochs.enter(*mine);
  IommuEpochs::leave(*mine);
  EXPECT_EQ(epochs.users_before(epoch).threads, 1u);
  IommuEpochs::leave(*mine);
  EXPECT_EQ(epochs.users_before(epoch).threads, 0u);
}

TEST(IommuEpochsTest, AHoldOutlivesTheDmaThatMadeIt) {
  IommuEpochs epochs;
  IommuThread* const mine = epochs.thread();
  epochs.enter(*mine);
  const std::uint64_t held = epochs.hold(*mine);
  const std::uint64_t same = epochs.hold(*mine);
  IommuEpochs::leave(*mine);
  const std::uint64_t epoch = epochs.advance();
  EXPECT_EQ(epochs.users_before(epoch).mappings, 2u);
  EXPECT_EQ(epochs.users_before(held).mappings, 0u);
  EXPECT_EQ(epochs.oldest(), UINT64_MAX);
  epochs.release(held);
  epochs.release(same);
  EXPECT_EQ(epochs.users_before(epoch).mappings, 0u);
}

TEST(IommuEpochsTest, AThreadThatIsGoneIsNobody) {
  IommuEpochs epochs;
  for (int i = 0; i < 20; ++i) {
    std::thread([&] {
      epochs.enter(*epochs.thread());
      IommuEpochs::leave(*epochs.thread());
    }).join();
  }
  EXPECT_EQ(epochs.users_before(epochs.advance()).threads, 0u);
}

}  // namespace
}  // namespace vm_device::internal
