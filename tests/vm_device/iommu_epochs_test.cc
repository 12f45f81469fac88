#include "vm_device/internal/iommu_epochs.h"

#include <gtest/gtest.h>

#include <array>
#include <memory>
#include <thread>

#include "vm_device/internal/iommu_port.h"

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

// Every change of a table asks for what can be freed: while DMA runs that is a look.
TEST(IommuEpochsTest, WhatIsInUseForCertainIsReclaimedWithoutBarriers) {
  IommuEpochs epochs;
  IommuNodeBudget budget{.limit = 100};
  IommuDomain domain(epochs, budget, 1);
  const auto map_and_unmap = [&](std::uint64_t iova) {
    EXPECT_TRUE(domain.table().insert(iova, iova + 4095, 0, DmaAccess::kRead));
    domain.table().erase(iova, iova + 4095);
    domain.invalidate(iova, iova + 4095);
    domain.reclaim();
  };
  map_and_unmap(0);
  EXPECT_EQ(budget.used.load(), 1u);  // the root
  const std::uint64_t before = epochs.barriers();
  epochs.enter(*epochs.thread());
  for (std::uint64_t i = 0; i < 8; ++i) map_and_unmap(i << 40);
  EXPECT_EQ(epochs.barriers(), before);
  const std::uint64_t in_use = budget.used.load();
  EXPECT_GT(in_use, 8u);
  IommuEpochs::leave(*epochs.thread());
  epochs.enter(*epochs.thread());  // later than those, earlier than this:
  map_and_unmap(0);
  EXPECT_GT(budget.used.load(), 1u);
  EXPECT_LT(budget.used.load(), in_use);
  IommuEpochs::leave(*epochs.thread());
  domain.reclaim();
  EXPECT_EQ(budget.used.load(), 1u);
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

// DMA from a destructor that runs when the thread's own state has gone.
TEST(IommuEpochsTest, AThreadThatIsEndingHasNoStateAnyMore) {
  static IommuEpochs epochs;
  static bool was_null = false;
  struct Late {
    ~Late() { was_null = epochs.thread() == nullptr; }
  };
  std::thread([] {
    thread_local Late late;
    static_cast<void>(&late);
    EXPECT_NE(epochs.thread(), nullptr);
  }).join();
  EXPECT_TRUE(was_null);
}

class IommuBarrierTest : public testing::TestWithParam<IommuEpochs::Barrier> {};

// Readers look at what one word names; the writer replaces it, and spoils what it took away
// as soon as nobody can be in it. A reader that sees spoiled bytes was overlooked.
TEST_P(IommuBarrierTest, NobodyIsOverlooked) {
  constexpr int kRounds = 10000;
  struct alignas(64) Page {
    std::atomic<std::uint64_t> spoiled{0};
  };
  IommuEpochs epochs(GetParam());
  std::array<Page, 8> pages;
  std::atomic<Page*> current{&pages[0]};
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> seen{0};
  std::thread reader([&] {
    while (!stop.load(std::memory_order_relaxed)) {
      IommuThread& own = *epochs.thread();
      epochs.enter(own);
      const Page* const page = current.load(std::memory_order_acquire);
      for (int i = 0; i < 8; ++i) {
        seen.fetch_or(page->spoiled.load(std::memory_order_relaxed), std::memory_order_relaxed);
      }
      IommuEpochs::leave(own);
    }
  });
  for (std::size_t round = 1; round <= kRounds; ++round) {
    Page& next = pages[round % pages.size()];
    next.spoiled.store(0);
    Page* const old = current.exchange(&next);
    const std::uint64_t epoch = epochs.advance();
    if (epochs.oldest() >= epoch) {
      old->spoiled.store(1, std::memory_order_relaxed);
    } else {
      while (epochs.oldest() < epoch) std::this_thread::yield();
    }
  }
  stop = true;
  reader.join();
  EXPECT_EQ(seen, 0u);
}

// The whole way of a translation: what is unmapped is not found, its nodes are given back.
TEST_P(IommuBarrierTest, DmaBesideMappingAndUnmapping) {
  constexpr int kRounds = 1000;
  constexpr std::uint64_t kIova = std::uint64_t{7} << 30;
  IommuEpochs epochs(GetParam());
  IommuFaultQueue faults(16);
  IommuNodeBudget budget{.limit = 64, .used = 0};
  IommuDomain domain(epochs, budget, 1);
  IommuPort port({1}, epochs, faults);
  port.set_target(IommuPort::target_of(domain));
  std::atomic<bool> stop{false};
  std::thread dma([&] {
    while (!stop.load(std::memory_order_relaxed)) {
      IommuSection section(&port);
      const GuestSegment run = section.translate(kIova, 64, DmaAccess::kRead);
      EXPECT_TRUE(run.bytes == 0 || run.address.value == 0x5000);
    }
  });
  const auto reaches = [&] {
    IommuSection section(&port);
    return section.translate(kIova, 64, DmaAccess::kRead).bytes == 64;
  };
  for (int i = 0; i < kRounds; ++i) {
    const std::lock_guard lock(domain.mutex());
    ASSERT_TRUE(domain.table().insert(kIova, kIova + 4095, 0x5000, DmaAccess::kRead)) << i;
    ASSERT_TRUE(reaches());
    EXPECT_EQ(domain.table().erase(kIova, kIova + 4095), 4096u);
    domain.invalidate(kIova, kIova + 4095);
    ASSERT_FALSE(reaches());
    while (budget.used > 32) domain.reclaim();
    domain.reclaim();
  }
  stop = true;
  dma.join();
  domain.reclaim();
  EXPECT_EQ(budget.used, 1u);  // the root
}

INSTANTIATE_TEST_SUITE_P(PerBarrier, IommuBarrierTest,
                         testing::Values(IommuEpochs::Barrier::kOfTheHost,
                                         IommuEpochs::Barrier::kNone),
                         [](const auto& it) {
                           return it.param == IommuEpochs::Barrier::kNone ? "none" : "membarrier";
                         });

}  // namespace
}  // namespace vm_device::internal
