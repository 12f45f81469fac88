#include "vm_device/virtqueue.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "tests/vm_device/driver_ring.h"
#include "vm_device/virtio_features.h"

namespace vm_device {
namespace {

constexpr std::uint16_t kSize = 8;
constexpr std::uint64_t kBuffer = kRamBase + 0x1'0000;

class VirtqueueTest : public testing::Test {
 protected:
  VirtqueueTest() : dma(*guest.memory), queue(dma, 256), ring(guest, kRamBase, kSize) {}

  void enable(std::uint64_t features = kFeatureRingIndirect) {
    ASSERT_EQ(queue.enable(ring.config(features)), VirtqueueError::kNone);
  }
  // Pops a chain and expects it to stop the queue for good.
  void expect_error(VirtqueueError error) {
    EXPECT_EQ(queue.pop(chain), PopStatus::kError);
    EXPECT_EQ(queue.error(), error) << virtqueue_error_name(queue.error());
    EXPECT_EQ(queue.pop(chain), PopStatus::kError);
    EXPECT_EQ(queue.push(chain, 0), error);
    EXPECT_FALSE(queue.wants_interrupt());
    EXPECT_FALSE(queue.resume_notifications());
    EXPECT_EQ(ring.used_index(), 0);
  }

  Guest guest;
  DmaSpace dma;
  Virtqueue queue;
  DriverRing ring;
  DescriptorChain chain;
};

TEST_F(VirtqueueTest, AnEmptyRingGivesNothing) {
  enable();
  EXPECT_EQ(queue.pop(chain), PopStatus::kEmpty);
  EXPECT_EQ(queue.error(), VirtqueueError::kNone);
}

TEST_F(VirtqueueTest, AQueueThatIsNotEnabledGivesNothing) {
  ring.offer_chain({{kBuffer, 16, 0, 0}});
  EXPECT_EQ(queue.pop(chain), PopStatus::kEmpty);
}

TEST_F(VirtqueueTest, AChainIsItsReadableThenItsWritableBuffers) {
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

TEST_F(VirtqueueTest, PushTellsTheDriverWhatWasUsed) {
  enable();
  ring.describe(5, {kBuffer, 64, kWrite, 0});
  ring.offer(5);
  ASSERT_EQ(queue.pop(chain), PopStatus::kChain);
  EXPECT_EQ(ring.used_index(), 0);
  EXPECT_EQ(queue.push(chain, 33), VirtqueueError::kNone);
  EXPECT_EQ(ring.used_index(), 1);
  EXPECT_EQ(ring.used_entry(0), (UsedEntry{5, 33}));
}

TEST_F(VirtqueueTest, IndicesRunThroughTheEndOfSixteenBits) {
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

TEST_F(VirtqueueTest, AFullRingIsNoJump) {
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

TEST_F(VirtqueueTest, AChainAsLongAsTheQueueIsNoLoop) {
  enable();
  for (std::uint16_t i = 0; i < kSize; ++i) {
    const std::uint16_t flags = i + 1 < kSize ? kNext : 0;
    ring.describe(i, {kBuffer, 4, flags, static_cast<std::uint16_t>(i + 1)});
  }
  ring.offer(0);
  ASSERT_EQ(queue.pop(chain), PopStatus::kChain);
  EXPECT_EQ(chain.readable_bytes(), 4u * kSize);
}

TEST_F(VirtqueueTest, ALoopIsAnError) {
  enable();
  ring.describe(0, {kBuffer, 4, kNext, 1});
  ring.describe(1, {kBuffer, 4, kNext, 0});
  ring.offer(0);
  expect_error(VirtqueueError::kLoop);
}

TEST_F(VirtqueueTest, ADescriptorThatNamesItselfIsALoop) {
  enable();
  ring.describe(2, {kBuffer, 4, kNext, 2});
  ring.offer(2);
  expect_error(VirtqueueError::kLoop);
}

TEST_F(VirtqueueTest, ALoopOfEmptyDescriptorsIsAnError) {
  enable();
  ring.describe(2, {kBuffer, 0, kNext, 2});
  ring.offer(2);
  expect_error(VirtqueueError::kLoop);
}

TEST_F(VirtqueueTest, ANextPastTheTableIsAnError) {
  enable();
  ring.describe(0, {kBuffer, 4, kNext, kSize});
  ring.offer(0);
  expect_error(VirtqueueError::kNextOutOfRange);
}

TEST_F(VirtqueueTest, ANextPastTheTableIsNotReadWithoutTheFlag) {
  enable();
  ring.describe(0, {kBuffer, 4, 0, 0xffff});
  ring.offer(0);
  EXPECT_EQ(queue.pop(chain), PopStatus::kChain);
}

TEST_F(VirtqueueTest, AHeadPastTheTableIsAnError) {
  enable();
  ring.offer(kSize);
  expect_error(VirtqueueError::kHeadOutOfRange);
}

TEST_F(VirtqueueTest, AnIndexAheadByMoreThanTheQueueIsAnError) {
  enable();
  ring.set_available_index(kSize + 1);
  expect_error(VirtqueueError::kAvailableJump);
}

TEST_F(VirtqueueTest, AnIndexThatGoesBackIsAnError) {
  enable();
  ring.offer_chain({{kBuffer, 4, 0, 0}});
  ASSERT_EQ(queue.pop(chain), PopStatus::kChain);
  ring.set_available_index(0);
  EXPECT_EQ(queue.pop(chain), PopStatus::kError);
  EXPECT_EQ(queue.error(), VirtqueueError::kAvailableJump);
}

TEST_F(VirtqueueTest, ReadableBehindWritableIsAnError) {
  enable();
  ring.offer_chain({{kBuffer, 4, kWrite, 0}, {kBuffer, 4, 0, 0}});
  expect_error(VirtqueueError::kReadAfterWrite);
}

TEST_F(VirtqueueTest, ReadableBehindAnEmptyWritableIsAnError) {
  enable();
  ring.offer_chain({{kBuffer, 0, kWrite, 0}, {kBuffer, 4, 0, 0}});
  expect_error(VirtqueueError::kReadAfterWrite);
}

TEST_F(VirtqueueTest, ABufferThatWrapsIsAnError) {
  enable();
  ring.offer_chain({{UINT64_MAX - 2, 4, 0, 0}});
  expect_error(VirtqueueError::kAddressWrap);
}

TEST_F(VirtqueueTest, EmptyDescriptorsGiveNoSegment) {
  enable();
  ring.offer_chain({{kBuffer, 0, 0, 0}, {kBuffer, 4, 0, 0}, {UINT64_MAX, 0, kWrite, 0}});
  ASSERT_EQ(queue.pop(chain), PopStatus::kChain);
  EXPECT_EQ(chain.readable().size(), 1u);
  EXPECT_TRUE(chain.writable().empty());
}

TEST_F(VirtqueueTest, LengthsAreCountedInSixtyFourBits) {
  enable();
  const RawDescriptor huge{kBuffer, UINT32_MAX, kWrite, 0};
  ring.offer_chain({huge, huge, huge, huge});
  ASSERT_EQ(queue.pop(chain), PopStatus::kChain);
  EXPECT_EQ(chain.writable_bytes(), 4 * std::uint64_t{UINT32_MAX});
}

TEST_F(VirtqueueTest, AnIndirectTableGoesOnWhereTheChainEnds) {
  enable();
  ring.write_chain(kBuffer, {{kBuffer + 256, 8, 0, 0}, {kBuffer + 512, 16, kWrite, 0}});
  ring.offer_chain({{kBuffer + 1024, 4, 0, 0}, {kBuffer, 32, kIndirect, 0}});
  ASSERT_EQ(queue.pop(chain), PopStatus::kChain);
  EXPECT_EQ(chain.readable_bytes(), 12u);
  EXPECT_EQ(chain.writable_bytes(), 16u);
}

TEST_F(VirtqueueTest, TheWriteFlagOfAnIndirectTableMeansNothing) {
  enable();
  ring.write_chain(kBuffer, {{kBuffer + 256, 8, 0, 0}});
  ring.offer_chain({{kBuffer, 16, kIndirect | kWrite, 0}});
  ASSERT_EQ(queue.pop(chain), PopStatus::kChain);
  EXPECT_EQ(chain.readable_bytes(), 8u);
}

TEST_F(VirtqueueTest, AnIndirectTableMayBeLongerThanTheQueue) {
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

TEST_F(VirtqueueTest, AnIndirectTableAboveTheLimitIsAnError) {
  enable();
  ring.offer_chain({{kBuffer, 16 * 1025, kIndirect, 0}});
  expect_error(VirtqueueError::kIndirectTooLong);
}

TEST_F(VirtqueueTest, AnIndirectTableNeedsTheFeature) {
  enable(0);
  ring.offer_chain({{kBuffer, 16, kIndirect, 0}});
  expect_error(VirtqueueError::kIndirectNotNegotiated);
}

TEST_F(VirtqueueTest, AnIndirectTableInAnotherIsAnError) {
  enable();
  ring.write_chain(kBuffer, {{kBuffer + 256, 16, kIndirect, 0}});
  ring.offer_chain({{kBuffer, 16, kIndirect, 0}});
  expect_error(VirtqueueError::kIndirectNested);
}

TEST_F(VirtqueueTest, AnIndirectTableInTheMiddleIsAnError) {
  enable();
  ring.offer_chain({{kBuffer, 16, kIndirect, 0}, {kBuffer, 16, 0, 0}});
  expect_error(VirtqueueError::kIndirectWithNext);
}

TEST_F(VirtqueueTest, AnIndirectTableOfPartsOfDescriptorsIsAnError) {
  enable();
  ring.offer_chain({{kBuffer, 17, kIndirect, 0}});
  expect_error(VirtqueueError::kIndirectBadLength);
}

TEST_F(VirtqueueTest, AnEmptyIndirectTableIsAnError) {
  enable();
  ring.offer_chain({{kBuffer, 0, kIndirect, 0}});
  expect_error(VirtqueueError::kIndirectBadLength);
}

TEST_F(VirtqueueTest, AnIndirectTableThatEndsOutsideRamIsAnError) {
  enable();
  ring.offer_chain({{kRamEnd - 16, 32, kIndirect, 0}});
  expect_error(VirtqueueError::kIndirectUnreachable);
}

TEST_F(VirtqueueTest, AnIndirectTableThatWrapsIsAnError) {
  enable();
  ring.offer_chain({{UINT64_MAX - 15, 32, kIndirect, 0}});
  expect_error(VirtqueueError::kAddressWrap);
}

TEST_F(VirtqueueTest, ALoopInAnIndirectTableIsAnError) {
  enable();
  ring.describe_at(kBuffer, {kBuffer, 1, kNext, 1});
  ring.describe_at(kBuffer + 16, {kBuffer, 1, kNext, 0});
  ring.offer_chain({{kBuffer, 32, kIndirect, 0}});
  expect_error(VirtqueueError::kLoop);
}

TEST_F(VirtqueueTest, ANextPastAnIndirectTableIsAnError) {
  enable();
  ring.describe_at(kBuffer, {kBuffer, 1, kNext, 2});
  ring.offer_chain({{kBuffer, 32, kIndirect, 0}});
  expect_error(VirtqueueError::kNextOutOfRange);
}

TEST_F(VirtqueueTest, AnErrorLastsUntilReset) {
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

TEST_F(VirtqueueTest, ASizeThatCannotBeIsRefused) {
  for (const int size : {0, 3, 6, 255, 512, 0x8000}) {
    VirtqueueConfig config = ring.config();
    config.size = static_cast<std::uint16_t>(size);
    EXPECT_EQ(queue.enable(config), VirtqueueError::kBadSize) << size;
    EXPECT_FALSE(queue.is_enabled());
  }
}

TEST_F(VirtqueueTest, MisalignedRingsAreRefused) {
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

TEST_F(VirtqueueTest, RingsThatWrapAreRefused) {
  VirtqueueConfig config = ring.config();
  config.descriptor_table = UINT64_MAX - 31;
  EXPECT_EQ(queue.enable(config), VirtqueueError::kRingUnreachable);
  config = ring.config();
  config.device_area = UINT64_MAX - 7;
  EXPECT_EQ(queue.enable(config), VirtqueueError::kRingUnreachable);
}

TEST_F(VirtqueueTest, RingsOutsideRamStopTheQueueAtFirstUse) {
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

TEST_F(VirtqueueTest, AUsedRingOutsideRamStopsTheQueueAtPush) {
  VirtqueueConfig config = ring.config();
  config.device_area = kRamEnd - 4;
  ring.offer_chain({{kBuffer, 4, kWrite, 0}});
  ASSERT_EQ(queue.enable(config), VirtqueueError::kNone);
  ASSERT_EQ(queue.pop(chain), PopStatus::kChain);
  EXPECT_EQ(queue.push(chain, 4), VirtqueueError::kRingUnreachable);
}

TEST_F(VirtqueueTest, TheDriversFlagSuppressesTheInterrupt) {
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

TEST_F(VirtqueueTest, TheDeviceSuppressesNotificationsByItsFlag) {
  enable(0);
  queue.suppress_notifications();
  EXPECT_EQ(ring.used_flags(), 1);
  ring.offer(0);
  EXPECT_TRUE(queue.resume_notifications());
  EXPECT_EQ(ring.used_flags(), 0);
  ASSERT_EQ(queue.pop(chain), PopStatus::kChain);
  EXPECT_FALSE(queue.resume_notifications());
}

TEST_F(VirtqueueTest, TheUsedEventSuppressesInterruptsUntilItIsPassed) {
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

TEST_F(VirtqueueTest, TheAvailableEventNamesTheNextRequest) {
  enable(kFeatureRingEventIdx);
  ring.offer(0);
  ASSERT_EQ(queue.pop(chain), PopStatus::kChain);
  queue.suppress_notifications();
  EXPECT_EQ(ring.used_flags(), 0);
  EXPECT_FALSE(queue.resume_notifications());
  EXPECT_EQ(ring.available_event(), 1);
}

TEST_F(VirtqueueTest, EveryErrorHasANameOfItsOwn) {
  std::set<std::string> names;
  int count = 0;
  for (auto error = VirtqueueError::kNone; error <= VirtqueueError::kBadStart;
       error = static_cast<VirtqueueError>(static_cast<int>(error) + 1), ++count) {
    names.insert(std::string(virtqueue_error_name(error)));
  }
  EXPECT_EQ(names.size(), static_cast<std::size_t>(count));
  EXPECT_EQ(names.count("unknown"), 0u);
}

}  // namespace
}  // namespace vm_device
