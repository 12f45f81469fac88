#include "vm_device/queue_turn.h"

#include <gtest/gtest.h>

#include <functional>

#include "tests/vm_device/driver_ring.h"
#include "tests/vm_device/guest.h"
#include "vm_device/virtio_features.h"

namespace vm_device {
namespace {

// One queue, and what the device has asked of its transport.
class RecordingTransport final : public VirtioTransport {
 public:
  RecordingTransport(Guest& guest, const VirtqueueConfig& config)
      : dma_(*guest.memory), queue_(dma_, 16) {
    EXPECT_EQ(queue_.enable(config), VirtqueueError::kNone);
  }
  DmaSpace& dma() override { return dma_; }
  Virtqueue& queue(std::uint16_t) override { return queue_; }
  std::uint64_t accepted_features() const override { return kFeatureVersion1; }
  void signal_used(std::uint16_t) override {
    if (!queue_.wants_interrupt()) return;
    ++signals;
    if (interrupted) interrupted();
  }
  void signal_config() override {}
  void defer(std::uint16_t) override { ++defers; }
  void wake(std::uint16_t) override {}
  void wake_config() override {}

  std::function<void()> interrupted;
  int signals = 0;
  int defers = 0;

 private:
  DmaSpace dma_;
  Virtqueue queue_;
};

class QueueTurnTest : public testing::Test {
 protected:
  QueueTurnTest() : ring(guest, kRamBase, 16), transport(guest, ring.config()) {
    ring.describe(0, {kRamBase + 0x1'0000, 64, kWrite, 0});
  }
  void offer(int requests) {
    for (; requests > 0; --requests) ring.offer(0);
  }
  // Completes what one turn gives, each request costing `bytes`.
  int serve(TurnLimits limits = {}, std::uint64_t bytes = 0) {
    int served = 0;
    QueueTurn turn(transport, 0, limits);
    for (DescriptorChain chain; turn.next(chain); ++served) {
      turn.spend(bytes);
      turn.complete(chain, 1);
    }
    return served;
  }

  Guest guest;
  DriverRing ring;
  RecordingTransport transport;
};

TEST_F(QueueTurnTest, ServesWhatThereIsAndAsksForNoMore) {
  offer(3);
  EXPECT_EQ(serve(), 3);
  EXPECT_EQ(ring.used_index(), 3);
  EXPECT_EQ(transport.defers, 0);
  EXPECT_EQ(transport.signals, 1);
  EXPECT_EQ(ring.used_flags(), 0);
}

TEST_F(QueueTurnTest, NotificationsAreOffDuringTheTurnAlone) {
  offer(2);
  DescriptorChain chain;
  {
    QueueTurn turn(transport, 0);
    ASSERT_TRUE(turn.next(chain));
    EXPECT_EQ(ring.used_flags(), 1);
    turn.complete(chain, 0);
  }
  EXPECT_EQ(ring.used_flags(), 0);
}

TEST_F(QueueTurnTest, ADriverThatAnswersItsInterruptNeedNotNotify) {
  int answers = 3;
  transport.interrupted = [&] {
    EXPECT_EQ(ring.used_flags(), 1);
    if (answers-- > 0) offer(1);
  };
  offer(2);
  EXPECT_EQ(serve(), 5);
  EXPECT_EQ(transport.signals, 4);
  EXPECT_EQ(ring.used_flags(), 0);
}

TEST_F(QueueTurnTest, ADriverThatAlwaysAnswersIsHeldToTheLimit) {
  transport.interrupted = [&] { offer(1); };
  offer(1);
  EXPECT_EQ(serve({.steps = 10}), 5);
  EXPECT_EQ(transport.defers, 1);
}

TEST_F(QueueTurnTest, ADeviceThatStopsByItselfIsNotCalledAgain) {
  offer(2);
  DescriptorChain chain;
  {
    QueueTurn turn(transport, 0);
    ASSERT_TRUE(turn.next(chain));
    turn.complete(chain, 0);
  }
  EXPECT_EQ(transport.defers, 0);
  EXPECT_EQ(transport.signals, 1);
  EXPECT_EQ(serve(), 1);
}

TEST_F(QueueTurnTest, TheRestComesInTheNextTurn) {
  offer(16);
  EXPECT_EQ(serve({.steps = 10}), 10);
  EXPECT_EQ(transport.defers, 1);
  EXPECT_EQ(ring.used_flags(), 0);
  EXPECT_EQ(serve({.steps = 10}), 6);
  EXPECT_EQ(transport.defers, 1);
}

TEST_F(QueueTurnTest, ALimitThatIsMetWithNothingLeftAsksForNoMore) {
  offer(10);
  EXPECT_EQ(serve({.steps = 10}), 10);
  EXPECT_EQ(transport.defers, 0);
}

TEST_F(QueueTurnTest, BytesEndTheTurnToo) {
  offer(16);
  EXPECT_EQ(serve({.bytes = 4096}, 1024), 4);
  EXPECT_EQ(transport.defers, 1);
}

TEST_F(QueueTurnTest, AQueueThatIsStoppedEndsTheTurnAndStillSignals) {
  offer(4);
  DescriptorChain chain;
  {
    QueueTurn turn(transport, 0);
    ASSERT_TRUE(turn.next(chain));
    turn.complete(chain, 0);
    turn.fail(VirtqueueError::kUnanswerable);
    EXPECT_FALSE(turn.next(chain));
  }
  EXPECT_EQ(transport.defers, 0);
  EXPECT_EQ(transport.signals, 1);
  EXPECT_EQ(transport.queue(0).error(), VirtqueueError::kUnanswerable);
}

}  // namespace
}  // namespace vm_device
