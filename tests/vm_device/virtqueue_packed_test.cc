// The packed form of a virtqueue.
#include <gtest/gtest.h>

#include <optional>

#include "tests/vm_device/ring_driver.h"
#include "tests/vm_device/ring_path.h"
#include "vm_device/virtqueue.h"

namespace vm_device {
namespace {

constexpr std::uint16_t kSize = 7;
constexpr std::uint64_t kBuffer = kRamBase + 0x2'0000;
constexpr RawDescriptor kAnswer{kBuffer, 64, kWrite, 0};

class PackedQueueTest : public testing::TestWithParam<RingPath>, protected QueueOnPath {
 protected:
  PackedQueueTest() : QueueOnPath(GetParam(), 256) {}

  RingDriver& enable(std::uint64_t features = kFeatureRingIndirect, std::uint16_t size = kSize) {
    driver.emplace(guest, kRamBase, size, features | kFeatureRingPacked);
    EXPECT_EQ(queue.enable(driver->config()), VirtqueueError::kNone);
    return *driver;
  }
  std::uint64_t descriptor(std::uint64_t index) const { return kRamBase + 16 * index; }
  std::uint16_t flags(std::uint64_t index) const {
    return guest.get<std::uint16_t>(descriptor(index) + 14);
  }
  void describe(std::uint64_t index, std::uint16_t id, std::uint16_t flags_and_wrap) {
    guest.put(descriptor(index), kBuffer);
    guest.put(descriptor(index) + 8, std::uint32_t{16});
    guest.put(descriptor(index) + 12, id);
    guest.put(descriptor(index) + 14, flags_and_wrap);
  }
  void serve_one() {
    ASSERT_EQ(queue.pop(chain), PopStatus::kChain);
    ASSERT_EQ(queue.push(chain, 5), VirtqueueError::kNone);
  }

  std::optional<RingDriver> driver;
};

INSTANTIATE_TEST_SUITE_P(EachPath, PackedQueueTest,
                         testing::Values(RingPath::kDma, RingPath::kDirect), ring_path_name);

TEST_P(PackedQueueTest, AnEmptyRingGivesNothing) {
  enable();
  EXPECT_EQ(queue.pop(chain), PopStatus::kEmpty);
  EXPECT_EQ(queue.error(), VirtqueueError::kNone);
}

TEST_P(PackedQueueTest, AChainHasItsBuffersAndTheIdOfItsLastDescriptor) {
  enable().offer({{kBuffer, 16, 0, 0}, {kBuffer + 64, 7, 0, 0}, {kBuffer + 128, 512, kWrite, 0}});
  guest.put(descriptor(0) + 12, std::uint16_t{6});
  guest.put(descriptor(1) + 12, std::uint16_t{0xffff});
  guest.put(descriptor(2) + 12, std::uint16_t{3});
  ASSERT_EQ(queue.pop(chain), PopStatus::kChain);
  EXPECT_EQ(chain.head(), 3);
  ASSERT_EQ(chain.readable().size(), 2u);
  EXPECT_EQ(chain.readable()[1].address, kBuffer + 64);
  EXPECT_EQ(chain.readable_bytes(), 23u);
  EXPECT_EQ(chain.writable_bytes(), 512u);
}

TEST_P(PackedQueueTest, AUsedDescriptorSaysWhetherItsLengthMeansSomething) {
  for (const std::uint64_t features : {std::uint64_t{0}, kFeatureInOrder}) {
    RingDriver& ring = enable(features);
    std::uint64_t index = 0;
    for (const bool writable : {true, false, true}) {
      const std::uint16_t id = ring.offer({{kBuffer, 64, writable ? kWrite : std::uint16_t{0}, 0}});
      ASSERT_EQ(queue.pop(chain), PopStatus::kChain);
      queue.push(chain, 0);
      EXPECT_EQ(flags(index++), 0x8080 | (writable ? kWrite : 0));
      EXPECT_EQ(ring.take_used(), (UsedEntry{id, 0}));
    }
  }
}

TEST_P(PackedQueueTest, AStagedRequestIsNoReasonAgainstTheInterruptForThoseBefore) {
  RingDriver& ring = enable(kFeatureRingEventIdx);
  DescriptorChain staged;
  for (int i = 0; i < 3 * kSize; ++i) {
    ring.want_interrupt();
    ring.offer({kAnswer});
    ring.offer({kAnswer, kAnswer});
    ASSERT_EQ(queue.pop(chain), PopStatus::kChain);
    ASSERT_EQ(queue.pop(staged), PopStatus::kChain);
    ASSERT_EQ(queue.push(chain, 1), VirtqueueError::kNone);
    ASSERT_EQ(queue.stage(staged, 1), VirtqueueError::kNone);
    EXPECT_TRUE(queue.wants_interrupt()) << i;
    ring.take_used();
    ring.want_interrupt(3);
    ASSERT_EQ(queue.publish(), VirtqueueError::kNone);
    EXPECT_FALSE(queue.wants_interrupt()) << i;
    ring.take_used();
  }
}

TEST_P(PackedQueueTest, WrapCountersTurnAtTheEndOfARingOfAnySize) {
  for (const std::uint16_t size : std::initializer_list<std::uint16_t>{1, 2, 3, 7, 200, 256}) {
    RingDriver& ring = enable(0, size);
    for (int i = 0; i < 3 * size; ++i) {
      std::vector<RawDescriptor> buffers(static_cast<std::size_t>(1 + i % std::min<int>(size, 3)),
                                         kAnswer);
      const std::uint16_t id = ring.offer(buffers);
      ASSERT_EQ(queue.pop(chain), PopStatus::kChain);
      ASSERT_EQ(chain.writable().size(), buffers.size());
      ASSERT_EQ(queue.pop(chain), PopStatus::kEmpty);
      ASSERT_EQ(queue.push(chain, 9), VirtqueueError::kNone);
      ASSERT_EQ(ring.take_used(), (UsedEntry{id, 9})) << size << " " << i;
    }
  }
}

TEST_P(PackedQueueTest, SizesThatCannotBeAreRefused) {
  RingDriver ring(guest, kRamBase, kSize, kFeatureRingPacked);
  for (const std::uint16_t size : std::initializer_list<std::uint16_t>{0, 257}) {
    VirtqueueConfig config = ring.config();
    config.size = size;
    EXPECT_EQ(queue.enable(config), VirtqueueError::kBadSize) << size;
  }
}

TEST_P(PackedQueueTest, MisalignedRingsAreRefused) {
  RingDriver ring(guest, kRamBase, kSize, kFeatureRingPacked);
  for (const auto part : {&VirtqueueConfig::descriptor_table, &VirtqueueConfig::driver_area,
                          &VirtqueueConfig::device_area}) {
    VirtqueueConfig config = ring.config();
    config.*part += 2;
    EXPECT_EQ(queue.enable(config), VirtqueueError::kRingMisaligned);
  }
}

TEST_P(PackedQueueTest, OfTheFlagsInATableOnlyWriteCounts) {
  RingDriver& ring = enable();
  ring.offer({{kBuffer, 8, 0, 0}, {kBuffer + 64, 8, kWrite, 0}}, Layout::kInTable);
  const std::uint64_t table = kRamBase + RingDriver::kTables;
  guest.put(table + 14, static_cast<std::uint16_t>(kNext | kIndirect | 0x8080));
  guest.put(table + 12, std::uint16_t{0xffff});
  ASSERT_EQ(queue.pop(chain), PopStatus::kChain);
  EXPECT_EQ(chain.readable_bytes(), 8u);
  EXPECT_EQ(chain.writable_bytes(), 8u);
}

TEST_P(PackedQueueTest, StagedRequestsBecomeUsedWithTheFirst) {
  RingDriver& ring = enable();
  const std::uint16_t first = ring.offer({kAnswer, kAnswer});
  const std::uint16_t second = ring.offer({kAnswer});
  DescriptorChain other;
  ASSERT_EQ(queue.pop(chain), PopStatus::kChain);
  ASSERT_EQ(queue.pop(other), PopStatus::kChain);
  EXPECT_EQ(queue.stage(chain, 1), VirtqueueError::kNone);
  EXPECT_EQ(queue.stage(other, 2), VirtqueueError::kNone);
  EXPECT_FALSE(ring.has_used());
  EXPECT_FALSE(queue.wants_interrupt());
  EXPECT_EQ(queue.publish(), VirtqueueError::kNone);
  EXPECT_EQ(ring.take_used(), (UsedEntry{first, 1}));
  EXPECT_EQ(ring.take_used(), (UsedEntry{second, 2}));
  EXPECT_TRUE(queue.wants_interrupt());
}

TEST_P(PackedQueueTest, InOrderFilledRequestsShareTheDescriptorOfTheFirst) {
  RingDriver& ring = enable(kFeatureInOrder);
  for (int i = 0; i < 3; ++i) ring.offer({kAnswer, {kBuffer, 8, kWrite, 0}});
  std::vector<DescriptorChain> chains(3);
  for (DescriptorChain& it : chains) ASSERT_EQ(queue.pop(it), PopStatus::kChain);
  EXPECT_EQ(queue.push(chains[2], 3), VirtqueueError::kNone);
  EXPECT_EQ(queue.push(chains[1], 72), VirtqueueError::kNone);
  EXPECT_FALSE(ring.has_used());
  EXPECT_EQ(queue.push(chains[0], 72), VirtqueueError::kNone);
  EXPECT_EQ(guest.get<std::uint16_t>(descriptor(0) + 12), chains[2].head());
  EXPECT_EQ(flags(2), kWrite | kNext | 0x80);
  EXPECT_EQ(ring.take_used(), (UsedEntry{chains[0].head(), 72}));
  EXPECT_EQ(ring.take_used(), (UsedEntry{chains[1].head(), 72}));
  EXPECT_EQ(ring.take_used(), (UsedEntry{chains[2].head(), 3}));
}

TEST_P(PackedQueueTest, TheDriverSuppressesInterrupts) {
  RingDriver& ring = enable(0);
  for (const bool wanted : {true, false, true}) {
    wanted ? ring.want_interrupt() : ring.want_no_interrupt();
    ring.offer({kAnswer});
    serve_one();
    EXPECT_EQ(queue.wants_interrupt(), wanted);
    EXPECT_FALSE(queue.wants_interrupt());
    ring.take_used();
  }
}

TEST_P(PackedQueueTest, ADescriptorEventIsPassedInEveryLap) {
  RingDriver& ring = enable(kFeatureRingEventIdx);
  for (int lap = 0; lap < 20; ++lap) {
    ring.want_interrupt(3);
    for (int i = 0; i < 4; ++i) {
      ring.offer({kAnswer});
      serve_one();
      EXPECT_EQ(queue.wants_interrupt(), i == 2) << lap << " " << i;
      ring.take_used();
    }
  }
}

TEST_P(PackedQueueTest, AWholeLapPassesEveryEvent) {
  RingDriver& ring = enable(kFeatureRingEventIdx);
  ring.want_interrupt(3);
  for (int i = 0; i < 3 * kSize; ++i) {
    ring.offer({kAnswer});
    serve_one();
    ring.take_used();
  }
  EXPECT_TRUE(queue.wants_interrupt());
}

TEST_P(PackedQueueTest, TheDeviceSuppressesNotifications) {
  for (const std::uint64_t features : {std::uint64_t{0}, kFeatureRingEventIdx}) {
    RingDriver& ring = enable(features);
    queue.suppress_notifications();
    ring.offer({kAnswer});
    EXPECT_FALSE(ring.must_notify());
    EXPECT_TRUE(queue.resume_notifications());
    serve_one();
    EXPECT_FALSE(queue.resume_notifications());
    ring.offer({kAnswer});
    EXPECT_TRUE(ring.must_notify());
  }
}

TEST_P(PackedQueueTest, ABufferIdPastTheQueueIsAnError) {
  enable();
  describe(0, kSize, 0x80);
  expect_error(VirtqueueError::kBufferIdOutOfRange);
}

TEST_P(PackedQueueTest, ARequestWithoutAnEndIsALoop) {
  enable();
  for (std::uint16_t i = 0; i < kSize; ++i) describe(i, i, kNext | 0x80);
  expect_error(VirtqueueError::kLoop);
}

TEST_P(PackedQueueTest, ARequestInDescriptorsThatAreOutIsAnError) {
  enable();
  for (std::uint16_t i = 0; i < kSize; ++i) describe(i, i, 0x80);
  for (std::uint16_t i = 0; i < kSize; ++i) ASSERT_EQ(queue.pop(chain), PopStatus::kChain);
  EXPECT_EQ(queue.pop(chain), PopStatus::kEmpty);
  describe(0, 0, 0x8000);
  expect_error(VirtqueueError::kRingOverrun);
}

TEST_P(PackedQueueTest, ARequestThatRunsIntoOneThatIsOutIsAnError) {
  enable();
  describe(0, 0, 0x80);
  ASSERT_EQ(queue.pop(chain), PopStatus::kChain);
  for (std::uint16_t i = 1; i < kSize; ++i) describe(i, i, kNext | 0x80);
  expect_error(VirtqueueError::kRingOverrun);
}

TEST_P(PackedQueueTest, BeginsWhereItIsTold) {
  RingDriver& ring = enable();
  for (int i = 0; i < 10; ++i) {
    ring.offer({kAnswer});
    serve_one();
    ring.take_used();
  }
  const VirtqueueState state = queue.state();
  EXPECT_EQ(state, (VirtqueueState{3, 3}));  // in the second lap: the wrap counters are 0
  const std::uint16_t id = ring.offer({kAnswer});
  VirtqueueConfig config = ring.config();
  config.start = state;
  ASSERT_EQ(queue.enable(config), VirtqueueError::kNone);
  serve_one();
  EXPECT_EQ(ring.take_used(), (UsedEntry{id, 5}));
}

TEST_P(PackedQueueTest, AStartThatCannotBeIsRefused) {
  RingDriver& ring = enable();
  for (const VirtqueueState state :
       {VirtqueueState{kSize, kSize}, VirtqueueState{kSize, 0}, VirtqueueState{0, kSize},
        VirtqueueState{1, 2}, VirtqueueState{2, 1}, VirtqueueState{0x8001, 0x0001}}) {
    VirtqueueConfig config = ring.config();
    config.start = state;
    EXPECT_EQ(queue.enable(config), VirtqueueError::kBadStart);
  }
}

TEST_P(PackedQueueTest, ARingMayEndWhereRamEnds) {
  VirtqueueConfig config = enable().config();
  config.descriptor_table = kRamEnd - 16 * kSize;
  config.driver_area = kRamEnd - 16 * kSize - 4;
  ASSERT_EQ(queue.enable(config), VirtqueueError::kNone);
  guest.put(kRamEnd - 16 * kSize + 14, std::uint16_t{0x80});
  serve_one();
  EXPECT_TRUE(queue.wants_interrupt());
}

}  // namespace
}  // namespace vm_device
