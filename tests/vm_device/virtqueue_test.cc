#include "vm_device/virtqueue.h"

#include <gtest/gtest.h>

#include "tests/vm_device/driver_ring.h"
#include "tests/vm_device/ring_path.h"
#include "vm_device/virtio_features.h"

namespace vm_device {
namespace {

constexpr std::uint16_t kSize = 8;
constexpr std::uint64_t kBuffer = kRamBase + 0x1'0000;

class VirtqueueTest : public testing::TestWithParam<RingPath>, protected QueueOnPath {
 protected:
  VirtqueueTest() : QueueOnPath(GetParam(), 256), ring(guest, kRamBase, kSize) {}

  void enable(std::uint64_t features = kFeatureRingIndirect) {
    ASSERT_EQ(queue.enable(ring.config(features)), VirtqueueError::kNone);
  }
  void expect_error(VirtqueueError error) {
    QueueOnPath::expect_error(error);
    EXPECT_EQ(ring.used_index(), 0);
  }

  DriverRing ring;
};

INSTANTIATE_TEST_SUITE_P(EachPath, VirtqueueTest,
                         testing::Values(RingPath::kDma, RingPath::kDirect), ring_path_name);

TEST_P(VirtqueueTest, AnEmptyRingGivesNothing) {
  enable();
  EXPECT_EQ(queue.pop(chain), PopStatus::kEmpty);
  EXPECT_EQ(queue.error(), VirtqueueError::kNone);
}

TEST_P(VirtqueueTest, AQueueThatIsNotEnabledGivesNothing) {
  ring.offer_chain({{kBuffer, 16, 0, 0}});
  EXPECT_EQ(queue.pop(chain), PopStatus::kEmpty);
}

TEST_P(VirtqueueTest, AChainIsItsReadableThenItsWritableBuffers) {
  enable();
  ring.offer_chain({{kBuffer, 16, 0, 0},
                    {kBuffer + 64, 7, 0, 0},
                    {kBuffer + 128, 512, kWrite, 0},
                    {kBuffer + 1024, 1, kWrite, 0}});
  ASSERT_EQ(queue.pop(chain), PopStatus::kChain);
  ASSERT_EQ(chain.readable().size(), 2u);
  ASSERT_EQ(chain.writable().size(), 2u);
  EXPECT_EQ(chain.readable()[1].address, kBuffer + 64);
  EXPECT_EQ(chain.readable()[1].bytes, 7u);
  EXPECT_EQ(chain.writable()[0].address, kBuffer + 128);
  EXPECT_EQ(chain.readable_bytes(), 23u);
  EXPECT_EQ(chain.writable_bytes(), 513u);
  EXPECT_EQ(queue.pop(chain), PopStatus::kEmpty);
}

TEST_P(VirtqueueTest, PushTellsTheDriverWhatWasUsed) {
  enable();
  ring.describe(5, {kBuffer, 64, kWrite, 0});
  ring.offer(5);
  ASSERT_EQ(queue.pop(chain), PopStatus::kChain);
  EXPECT_EQ(ring.used_index(), 0);
  EXPECT_EQ(queue.push(chain, 33), VirtqueueError::kNone);
  EXPECT_EQ(ring.used_index(), 1);
  EXPECT_EQ(ring.used_entry(0), (UsedEntry{5, 33}));
}

TEST_P(VirtqueueTest, IndicesRunThroughTheEndOfSixteenBits) {
  enable();
  ring.describe(3, {kBuffer, 64, kWrite, 0});
  for (std::uint32_t i = 0; i < 0x1'0000 + 20; ++i) {
    ring.offer(3);
    ASSERT_EQ(queue.pop(chain), PopStatus::kChain);
    ASSERT_EQ(queue.push(chain, i), VirtqueueError::kNone);
    ASSERT_EQ(ring.used_entry(static_cast<std::uint16_t>(i % kSize)), (UsedEntry{3, i}));
  }
  EXPECT_EQ(ring.used_index(), 20);
}

TEST_P(VirtqueueTest, AFullRingIsNoJump) {
  enable();
  for (std::uint16_t i = 0; i < kSize; ++i) {
    ring.describe(i, {kBuffer, 1, kWrite, 0});
    ring.offer(i);
  }
  for (std::uint16_t i = 0; i < kSize; ++i) {
    ASSERT_EQ(queue.pop(chain), PopStatus::kChain);
    EXPECT_EQ(chain.head(), i);
  }
  EXPECT_EQ(queue.pop(chain), PopStatus::kEmpty);
}

TEST_P(VirtqueueTest, AChainAsLongAsTheQueueIsNoLoop) {
  enable();
  for (std::uint16_t i = 0; i < kSize; ++i) {
    const std::uint16_t flags = i + 1 < kSize ? kNext : 0;
    ring.describe(i, {kBuffer, 4, flags, static_cast<std::uint16_t>(i + 1)});
  }
  ring.offer(0);
  ASSERT_EQ(queue.pop(chain), PopStatus::kChain);
  EXPECT_EQ(chain.readable_bytes(), 4u * kSize);
}

TEST_P(VirtqueueTest, ALoopIsAnError) {
  enable();
  ring.describe(0, {kBuffer, 4, kNext, 1});
  ring.describe(1, {kBuffer, 4, kNext, 0});
  ring.offer(0);
  expect_error(VirtqueueError::kLoop);
}

TEST_P(VirtqueueTest, ADescriptorThatNamesItselfIsALoop) {
  enable();
  ring.describe(2, {kBuffer, 4, kNext, 2});
  ring.offer(2);
  expect_error(VirtqueueError::kLoop);
}

TEST_P(VirtqueueTest, ALoopOfEmptyDescriptorsIsAnError) {
  enable();
  ring.describe(2, {kBuffer, 0, kNext, 2});
  ring.offer(2);
  expect_error(VirtqueueError::kLoop);
}

TEST_P(VirtqueueTest, ANextPastTheTableIsAnError) {
  enable();
  ring.describe(0, {kBuffer, 4, kNext, kSize});
  ring.offer(0);
  expect_error(VirtqueueError::kNextOutOfRange);
}

TEST_P(VirtqueueTest, ANextPastTheTableIsNotReadWithoutTheFlag) {
  enable();
  ring.describe(0, {kBuffer, 4, 0, 0xffff});
  ring.offer(0);
  EXPECT_EQ(queue.pop(chain), PopStatus::kChain);
}

TEST_P(VirtqueueTest, AHeadPastTheTableIsAnError) {
  enable();
  ring.offer(kSize);
  expect_error(VirtqueueError::kHeadOutOfRange);
}

TEST_P(VirtqueueTest, AnIndexAheadByMoreThanTheQueueIsAnError) {
  enable();
  ring.set_available_index(kSize + 1);
  expect_error(VirtqueueError::kAvailableJump);
}

TEST_P(VirtqueueTest, AnIndexThatGoesBackIsAnError) {
  enable();
  ring.offer_chain({{kBuffer, 4, 0, 0}});
  ASSERT_EQ(queue.pop(chain), PopStatus::kChain);
  ring.set_available_index(0);
  EXPECT_EQ(queue.pop(chain), PopStatus::kError);
  EXPECT_EQ(queue.error(), VirtqueueError::kAvailableJump);
}

TEST_P(VirtqueueTest, EmptyDescriptorsGiveNoSegment) {
  enable();
  ring.offer_chain({{kBuffer, 0, 0, 0}, {kBuffer, 4, 0, 0}, {UINT64_MAX, 0, kWrite, 0}});
  ASSERT_EQ(queue.pop(chain), PopStatus::kChain);
  EXPECT_EQ(chain.readable().size(), 1u);
  EXPECT_TRUE(chain.writable().empty());
}

TEST_P(VirtqueueTest, LengthsAreCountedInSixtyFourBits) {
  enable();
  const RawDescriptor huge{kBuffer, UINT32_MAX, kWrite, 0};
  ring.offer_chain({huge, huge, huge, huge});
  ASSERT_EQ(queue.pop(chain), PopStatus::kChain);
  EXPECT_EQ(chain.writable_bytes(), 4 * std::uint64_t{UINT32_MAX});
}

TEST_P(VirtqueueTest, AnIndirectTableGoesOnWhereTheChainEnds) {
  enable();
  ring.write_chain(kBuffer, {{kBuffer + 256, 8, 0, 0}, {kBuffer + 512, 16, kWrite, 0}});
  ring.offer_chain({{kBuffer + 1024, 4, 0, 0}, {kBuffer, 32, kIndirect, 0}});
  ASSERT_EQ(queue.pop(chain), PopStatus::kChain);
  EXPECT_EQ(chain.readable_bytes(), 12u);
  EXPECT_EQ(chain.writable_bytes(), 16u);
}

TEST_P(VirtqueueTest, TheWriteFlagOfAnIndirectTableMeansNothing) {
  enable();
  ring.write_chain(kBuffer, {{kBuffer + 256, 8, 0, 0}});
  ring.offer_chain({{kBuffer, 16, kIndirect | kWrite, 0}});
  ASSERT_EQ(queue.pop(chain), PopStatus::kChain);
  EXPECT_EQ(chain.readable_bytes(), 8u);
}

TEST_P(VirtqueueTest, AnIndirectTableMayBeLongerThanTheQueue) {
  enable();
  const std::uint32_t count = 1024;
  for (std::uint32_t i = 0; i < count; ++i) {
    const std::uint16_t flags = i + 1 < count ? kNext : 0;
    ring.describe_at(kBuffer + 16 * i, {kBuffer, 1, flags, static_cast<std::uint16_t>(i + 1)});
  }
  ring.offer_chain({{kBuffer, 16 * count, kIndirect, 0}});
  ASSERT_EQ(queue.pop(chain), PopStatus::kChain);
  EXPECT_EQ(chain.readable_bytes(), count);
}

TEST_P(VirtqueueTest, AnIndirectTableInAnotherIsAnError) {
  enable();
  ring.write_chain(kBuffer, {{kBuffer + 256, 16, kIndirect, 0}});
  ring.offer_chain({{kBuffer, 16, kIndirect, 0}});
  expect_error(VirtqueueError::kIndirectNested);
}

TEST_P(VirtqueueTest, ALoopInAnIndirectTableIsAnError) {
  enable();
  ring.describe_at(kBuffer, {kBuffer, 1, kNext, 1});
  ring.describe_at(kBuffer + 16, {kBuffer, 1, kNext, 0});
  ring.offer_chain({{kBuffer, 32, kIndirect, 0}});
  expect_error(VirtqueueError::kLoop);
}

TEST_P(VirtqueueTest, ANextPastAnIndirectTableIsAnError) {
  enable();
  ring.describe_at(kBuffer, {kBuffer, 1, kNext, 2});
  ring.offer_chain({{kBuffer, 32, kIndirect, 0}});
  expect_error(VirtqueueError::kNextOutOfRange);
}

TEST_P(VirtqueueTest, AnErrorLastsUntilReset) {
  enable();
  ring.offer(kSize);
  expect_error(VirtqueueError::kHeadOutOfRange);
  queue.fail(VirtqueueError::kLoop);
  EXPECT_EQ(queue.error(), VirtqueueError::kHeadOutOfRange);
  queue.reset();
  ring.clear();
  enable();
  ring.offer_chain({{kBuffer, 4, kWrite, 0}});
  EXPECT_EQ(queue.pop(chain), PopStatus::kChain);
}

TEST_P(VirtqueueTest, ASizeThatCannotBeIsRefused) {
  for (const int size : {0, 3, 6, 255, 512, 0x8000}) {
    VirtqueueConfig config = ring.config();
    config.size = static_cast<std::uint16_t>(size);
    EXPECT_EQ(queue.enable(config), VirtqueueError::kBadSize) << size;
    EXPECT_FALSE(queue.is_enabled());
  }
}

TEST_P(VirtqueueTest, MisalignedRingsAreRefused) {
  VirtqueueConfig config = ring.config();
  config.descriptor_table += 8;
  EXPECT_EQ(queue.enable(config), VirtqueueError::kRingMisaligned);
  config = ring.config();
  config.driver_area += 1;
  EXPECT_EQ(queue.enable(config), VirtqueueError::kRingMisaligned);
  config = ring.config();
  config.device_area += 2;
  EXPECT_EQ(queue.enable(config), VirtqueueError::kRingMisaligned);
}

TEST_P(VirtqueueTest, RingsThatWrapAreRefused) {
  VirtqueueConfig config = ring.config();
  config.descriptor_table = UINT64_MAX - 31;
  EXPECT_EQ(queue.enable(config), VirtqueueError::kRingUnreachable);
  config = ring.config();
  config.device_area = UINT64_MAX - 7;
  EXPECT_EQ(queue.enable(config), VirtqueueError::kRingUnreachable);
}

TEST_P(VirtqueueTest, RingsOutsideRamStopTheQueueAtFirstUse) {
  for (int part = 0; part < 2; ++part) {
    VirtqueueConfig config = ring.config();
    (part == 0 ? config.descriptor_table : config.driver_area) = 0x1000;
    ring.clear();
    ring.offer(0);
    ASSERT_EQ(queue.enable(config), VirtqueueError::kNone);
    EXPECT_EQ(queue.pop(chain), PopStatus::kError);
    EXPECT_EQ(queue.error(), VirtqueueError::kRingUnreachable);
  }
}

TEST_P(VirtqueueTest, AUsedRingOutsideRamStopsTheQueueAtPush) {
  VirtqueueConfig config = ring.config();
  config.device_area = kRamEnd - 4;
  ring.offer_chain({{kBuffer, 4, kWrite, 0}});
  ASSERT_EQ(queue.enable(config), VirtqueueError::kNone);
  ASSERT_EQ(queue.pop(chain), PopStatus::kChain);
  EXPECT_EQ(queue.push(chain, 4), VirtqueueError::kRingUnreachable);
}

TEST_P(VirtqueueTest, TheDriversFlagSuppressesTheInterrupt) {
  enable(0);
  EXPECT_FALSE(queue.wants_interrupt());
  for (const bool wanted : {true, false, true}) {
    ring.set_available_flags(wanted ? 0 : 1);
    ring.offer(0);
    ASSERT_EQ(queue.pop(chain), PopStatus::kChain);
    queue.push(chain, 0);
    EXPECT_EQ(queue.wants_interrupt(), wanted);
    EXPECT_FALSE(queue.wants_interrupt());
  }
}

TEST_P(VirtqueueTest, TheDeviceSuppressesNotificationsByItsFlag) {
  enable(0);
  queue.suppress_notifications();
  EXPECT_EQ(ring.used_flags(), 1);
  ring.offer(0);
  EXPECT_TRUE(queue.resume_notifications());
  EXPECT_EQ(ring.used_flags(), 0);
  ASSERT_EQ(queue.pop(chain), PopStatus::kChain);
  EXPECT_FALSE(queue.resume_notifications());
}

TEST_P(VirtqueueTest, TheUsedEventSuppressesInterruptsUntilItIsPassed) {
  enable(kFeatureRingEventIdx);
  ring.set_used_event(2);
  const auto complete = [&] {
    ring.offer(0);
    EXPECT_EQ(queue.pop(chain), PopStatus::kChain);
    queue.push(chain, 0);
  };
  complete();
  EXPECT_FALSE(queue.wants_interrupt());
  complete();
  EXPECT_FALSE(queue.wants_interrupt());
  complete();
  EXPECT_TRUE(queue.wants_interrupt());
  complete();
  EXPECT_FALSE(queue.wants_interrupt());
}

TEST_P(VirtqueueTest, TheAvailableEventNamesTheNextRequest) {
  enable(kFeatureRingEventIdx);
  ring.offer(0);
  ASSERT_EQ(queue.pop(chain), PopStatus::kChain);
  queue.suppress_notifications();
  EXPECT_EQ(ring.used_flags(), 0);
  EXPECT_FALSE(queue.resume_notifications());
  EXPECT_EQ(ring.available_event(), 1);
}

TEST_P(VirtqueueTest, RequestsThatAreStillOutCountAgainstAJump) {
  enable();
  ring.describe(0, {kBuffer, 1, kWrite, 0});
  for (std::uint16_t i = 0; i < kSize; ++i) {
    ring.offer(0);
    ASSERT_EQ(queue.pop(chain), PopStatus::kChain);
  }
  ring.offer(0);
  expect_error(VirtqueueError::kAvailableJump);
}

TEST_P(VirtqueueTest, StagedRequestsAreSeenOncePublished) {
  enable();
  ring.describe(1, {kBuffer, 64, kWrite, 0});
  ring.describe(2, {kBuffer, 64, kWrite, 0});
  DescriptorChain other;
  ring.offer(1);
  ring.offer(2);
  ASSERT_EQ(queue.pop(chain), PopStatus::kChain);
  ASSERT_EQ(queue.pop(other), PopStatus::kChain);
  EXPECT_EQ(queue.stage(other, 7), VirtqueueError::kNone);
  EXPECT_EQ(queue.stage(chain, 8), VirtqueueError::kNone);
  EXPECT_EQ(ring.used_index(), 0);
  EXPECT_FALSE(queue.wants_interrupt());
  EXPECT_EQ(queue.publish(), VirtqueueError::kNone);
  EXPECT_EQ(ring.used_index(), 2);
  EXPECT_EQ(ring.used_entry(0), (UsedEntry{2, 7}));
  EXPECT_EQ(ring.used_entry(1), (UsedEntry{1, 8}));
  EXPECT_TRUE(queue.wants_interrupt());
}

TEST_P(VirtqueueTest, WhatIsStagedOutlivesAnErrorOfTheNextRequest) {
  enable();
  ring.describe(1, {kBuffer, 64, kWrite, 0});
  ring.offer(1);
  ring.offer(kSize);
  ASSERT_EQ(queue.pop(chain), PopStatus::kChain);
  EXPECT_EQ(queue.stage(chain, 64), VirtqueueError::kNone);
  EXPECT_EQ(queue.pop(chain), PopStatus::kError);
  EXPECT_EQ(queue.publish(), VirtqueueError::kHeadOutOfRange);
  EXPECT_EQ(ring.used_index(), 1);
  EXPECT_TRUE(queue.wants_interrupt());
}

TEST_P(VirtqueueTest, InOrderAnEarlyAnswerWaitsForThoseBefore) {
  enable(kFeatureInOrder);
  DescriptorChain first;
  ring.describe(1, {kBuffer, 64, kWrite, 0});
  ring.describe(2, {kBuffer, 64, kWrite, 0});
  ring.offer(1);
  ring.offer(2);
  ASSERT_EQ(queue.pop(first), PopStatus::kChain);
  ASSERT_EQ(queue.pop(chain), PopStatus::kChain);
  EXPECT_EQ(queue.push(chain, 5), VirtqueueError::kNone);
  EXPECT_EQ(ring.used_index(), 0);
  EXPECT_FALSE(queue.is_idle());
  EXPECT_EQ(queue.push(first, 6), VirtqueueError::kNone);
  EXPECT_EQ(ring.used_index(), 2);
  EXPECT_EQ(ring.used_entry(0), (UsedEntry{1, 6}));
  EXPECT_EQ(ring.used_entry(1), (UsedEntry{2, 5}));
  EXPECT_TRUE(queue.is_idle());
}

TEST_P(VirtqueueTest, InOrderFilledRequestsShareTheEntryOfTheLast) {
  enable(kFeatureInOrder);
  for (std::uint16_t i = 1; i <= 4; ++i) {
    ring.describe(i, {kBuffer, 64, kWrite, 0});
    ring.offer(i);
  }
  for (const std::uint32_t written : {64u, 64u, 9u, 64u}) {
    ASSERT_EQ(queue.pop(chain), PopStatus::kChain);
    EXPECT_EQ(queue.stage(chain, written), VirtqueueError::kNone);
  }
  EXPECT_EQ(queue.publish(), VirtqueueError::kNone);
  EXPECT_EQ(ring.used_index(), 4);
  EXPECT_EQ(ring.used_entry(0), (UsedEntry{3, 9}));
  EXPECT_EQ(ring.used_entry(3), (UsedEntry{4, 64}));
  EXPECT_EQ(ring.used_entry(1), (UsedEntry{0, 0}));
}

TEST_P(VirtqueueTest, BeginsWhereItIsTold) {
  VirtqueueConfig config = ring.config();
  config.start = VirtqueueState{0xffff, 0xffff};
  ring.set_available_index(0xffff);
  ring.describe(3, {kBuffer, 64, kWrite, 0});
  ring.offer(3);
  ASSERT_EQ(queue.enable(config), VirtqueueError::kNone);
  EXPECT_TRUE(queue.is_idle());
  ASSERT_EQ(queue.pop(chain), PopStatus::kChain);
  queue.push(chain, 4);
  EXPECT_EQ(ring.used_index(), 0);
  EXPECT_EQ(ring.used_entry(7), (UsedEntry{3, 4}));
  EXPECT_EQ(queue.state(), (VirtqueueState{0, 0}));
}

TEST_P(VirtqueueTest, AStartWithRequestsOutIsRefused) {
  VirtqueueConfig config = ring.config();
  for (const VirtqueueState state : {VirtqueueState{3, 1}, VirtqueueState{kSize + 1, 0}}) {
    config.start = state;
    EXPECT_EQ(queue.enable(config), VirtqueueError::kBadStart);
  }
}

TEST_P(VirtqueueTest, RingsMayEndWhereRamEnds) {
  const std::uint64_t table = kRamEnd - 0x200;
  for (const std::uint64_t features : {std::uint64_t{0}, kFeatureRingEventIdx}) {
    const std::uint64_t event = features != 0 ? 2 : 0;
    VirtqueueConfig config = ring.config(features);
    config.descriptor_table = table;
    config.device_area = kRamEnd - (4 + 8 * kSize + 2 * event);
    for (const bool available_last : {true, false}) {
      if (available_last) {
        config.driver_area = kRamEnd - (4 + 2 * kSize + event);
        config.device_area = ring.used();
      } else {
        config.driver_area = ring.available();
        config.device_area = kRamEnd - (4 + 8 * kSize + 2 * event);
      }
      ring.clear();
      guest.put_bytes(table, std::vector<std::byte>(0x200));
      ring.describe_at(table, {kBuffer, 64, kWrite, 0});
      guest.put(config.driver_area + 2, std::uint16_t{1});
      ASSERT_EQ(queue.enable(config), VirtqueueError::kNone);
      ASSERT_EQ(queue.pop(chain), PopStatus::kChain);
      EXPECT_EQ(queue.push(chain, 1), VirtqueueError::kNone);
      EXPECT_EQ(guest.get<std::uint16_t>(config.device_area + 2), 1);
      queue.wants_interrupt();
      queue.resume_notifications();
      EXPECT_EQ(queue.error(), VirtqueueError::kNone);
    }
  }
}

}  // namespace
}  // namespace vm_device
