#include "vm_device/internal/transport_gate.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "tests/vm_device/scripted_slot.h"

namespace vm_device {
namespace {

using internal::GateStay;
using internal::TransportGate;

constexpr std::uint64_t kGeneration = 0xfc;

TEST(TransportGateTest, OneIsInside) {
  TransportGate gate(1);
  gate.enter();
  EXPECT_FALSE(gate.try_enter());
  EXPECT_FALSE(gate.take_or_leave().has_value());
  EXPECT_TRUE(gate.try_enter());
}

TEST(TransportGateTest, WhoIsInsideFindsWhatWakersLeft) {
  TransportGate gate(2);
  gate.enter();
  for (const std::size_t what : {1u, 1u, 2u}) EXPECT_FALSE(gate.wake({what, {}}));
  EXPECT_EQ(gate.take_or_leave()->what, 1u);
  EXPECT_EQ(gate.take_or_leave()->what, 2u);
  EXPECT_FALSE(gate.take_or_leave().has_value());
}

TEST(TransportGateTest, AWakerOfAnEmptyRoomGoesIn) {
  TransportGate gate(1);
  EXPECT_TRUE(gate.wake({0, {}}));
  EXPECT_FALSE(gate.try_enter());
  EXPECT_EQ(gate.take_or_leave()->what, 0u);
  EXPECT_FALSE(gate.take_or_leave().has_value());
}

TEST(TransportGateTest, AQueueThatIsAlwaysWokenLeavesTheOthersTheirTurn) {
  TransportGate gate(2);
  gate.enter();
  EXPECT_FALSE(gate.wake({1, {}}));
  EXPECT_FALSE(gate.wake({0, {}}));
  EXPECT_EQ(gate.take_or_leave()->what, 0u);
  EXPECT_FALSE(gate.wake({0, {}}));
  EXPECT_EQ(gate.take_or_leave()->what, 1u);
}

TEST(TransportGateTest, WhatIsPutOffComesInTurn) {
  TransportGate gate(3);
  EXPECT_FALSE(gate.has_deferred());
  for (const std::size_t queue : {2u, 0u, 2u}) gate.defer(queue, {});
  EXPECT_EQ(gate.take_next_deferred()->what, 0u);
  gate.defer(0, {});
  EXPECT_EQ(gate.take_next_deferred()->what, 2u);
  EXPECT_TRUE(gate.take_deferred(0).has_value());
  EXPECT_FALSE(gate.take_deferred(0).has_value());
  EXPECT_FALSE(gate.has_deferred());
  EXPECT_FALSE(gate.take_next_deferred().has_value());
}

TEST(TransportGateTest, AStayEndsWithItsScopeAndLeavesWakesToTheNext) {
  TransportGate gate(1);
  gate.enter();
  {
    const GateStay stay(gate);
    EXPECT_FALSE(gate.wake({0, {}}));
  }
  EXPECT_TRUE(gate.try_enter());
  GateStay next(gate);
  EXPECT_EQ(next.take_or_leave()->what, 0u);
  EXPECT_FALSE(next.take_or_leave().has_value());
  EXPECT_TRUE(gate.try_enter());
}

class WakeTest : public testing::Test {
 protected:
  WakeTest() { slot.start(); }

  Guest guest;
  ScriptedSlot slot{guest, 0};
};

TEST_F(WakeTest, AHostThreadHasItsQueueServed) {
  slot.device->on_notify = [this](std::uint16_t queue) { slot.device->answer(queue); };
  slot.rings[1].offer(0);
  std::thread host([this] { slot.device->transport->wake(1); });
  host.join();
  EXPECT_EQ(slot.device->notifications, (std::array<int, 2>{0, 1}));
  EXPECT_EQ(slot.rings[1].used_index(), 1);
  EXPECT_EQ(slot.line.level(), Level::kHigh);
}

TEST_F(WakeTest, ADeviceThatWakesItselfIsServedWhenItsCallHasEnded) {
  bool inside = false;
  slot.device->on_notify = [&](std::uint16_t queue) {
    EXPECT_FALSE(inside);
    inside = true;
    if (queue == 0) slot.device->transport->wake(1);
    inside = false;
  };
  slot.ring_bell();
  EXPECT_EQ(slot.device->notifications, (std::array<int, 2>{1, 1}));
}

TEST_F(WakeTest, AWakerThatFindsTheDeviceInUseDoesNotWait) {
  slot.device->on_notify = [&](std::uint16_t queue) {
    if (queue == 1) return;
    std::thread host([&] { slot.device->transport->wake(1); });
    host.join();
    EXPECT_EQ(slot.device->notifications[1], 0);
  };
  slot.ring_bell();
  EXPECT_EQ(slot.device->notifications[1], 1);
}

TEST_F(WakeTest, AHostThatWakesWithoutEndDoesNotKeepTheGuestsCpu) {
  slot.device->on_notify = [this](std::uint16_t queue) { slot.device->transport->wake(queue); };
  slot.ring_bell();
  const int first = slot.device->notifications[0];
  EXPECT_LT(first, 100);
  EXPECT_EQ(slot.line.level(), Level::kHigh);
  slot.device->on_notify = nullptr;
  slot.touch();
  EXPECT_EQ(slot.device->notifications[0], first + 1);
}

TEST_F(WakeTest, NothingIsServedOutsideOfDriverOk) {
  slot.set(0x70, 0);
  slot.device->transport->wake(0);
  slot.negotiate(kFeatureVersion1);
  slot.set_up(0);
  slot.device->transport->wake(0);
  slot.device->transport->wake(7);  // no such queue
  EXPECT_EQ(slot.device->notifications[0], 0);
  slot.set(0x70, 15);
  slot.device->transport->wake(0);
  EXPECT_EQ(slot.device->notifications[0], 1);
  EXPECT_EQ(slot.line.rises(), 0);
}

TEST_F(WakeTest, AnErrorThatItLeadsToIsToldToTheDriver) {
  slot.device->on_notify = [this](std::uint16_t queue) { slot.device->answer(queue); };
  slot.rings[0].offer(99);
  slot.device->transport->wake(0);
  EXPECT_EQ(slot.mmio.queue_error(0), VirtqueueError::kHeadOutOfRange);
  EXPECT_EQ(slot.get(0x70), 15u | 64u);
  slot.device->transport->wake(0);
  EXPECT_EQ(slot.device->notifications[0], 1);
}

TEST_F(WakeTest, AChangeOfConfigIsShownWithItsGeneration) {
  slot.device->on_take_config = [this] { slot.device->shown = std::byte{7}; };
  slot.device->transport->wake_config();
  EXPECT_EQ(slot.get(0x100), 0x07070707u);
  EXPECT_EQ(slot.get(kGeneration), 1u);
  EXPECT_EQ(slot.get(0x60), 2u);
  slot.set(0x70, 0);
  slot.device->transport->wake_config();  // before DRIVER_OK: counted, no interrupt
  EXPECT_EQ(slot.get(kGeneration), 2u);
  EXPECT_EQ(slot.get(0x60), 0u);
}

// Another device's DMA would find the slot in use, instead of waiting for ever.
TEST_F(WakeTest, ADeviceThatThrowsIsEnteredAgain) {
  ScriptedSlot other(guest, 1);
  other.start();
  DmaFault found = DmaFault::kBusy;
  other.device->on_notify = [&](std::uint16_t) {
    std::uint32_t status = 0;
    found = other.device->transport->dma().load(ScriptedSlot::address_of(0) + 0x70, status).fault;
  };
  slot.device->on_notify = [](std::uint16_t) { throw 1; };
  EXPECT_THROW(slot.ring_bell(), int);
  other.ring_bell();
  ASSERT_EQ(found, DmaFault::kNone);
  EXPECT_THROW(slot.device->transport->wake(0), int);
  other.ring_bell();
  ASSERT_EQ(found, DmaFault::kNone);
  slot.device->on_notify = nullptr;
  slot.ring_bell();
  EXPECT_EQ(slot.device->notifications[0], 3);
}

// Each waker adds to a sum before it wakes; what is served takes the sum away. A wake that
// is lost leaves something in the sum at the end.
TEST_F(WakeTest, NoWakeIsLostAmongThreads) {
  constexpr int kWakers = 3;
  constexpr int kRounds = 2000;
  std::atomic<int> sum{0};
  std::atomic<int> inside{0};
  int taken = 0;
  slot.device->on_notify = [&](std::uint16_t) {
    EXPECT_EQ(inside.fetch_add(1), 0);
    taken += sum.exchange(0);
    inside.fetch_sub(1);
  };
  std::vector<std::thread> wakers;
  for (int i = 0; i < kWakers; ++i) {
    wakers.emplace_back([&] {
      for (int n = 0; n < kRounds; ++n) {
        sum.fetch_add(1);
        slot.device->transport->wake(0);
        if (n % 64 == 0) slot.device->transport->wake_config();
      }
    });
  }
  for (int n = 0; n < kRounds; ++n) slot.touch();
  for (std::thread& waker : wakers) waker.join();
  slot.touch();  // for what was put off
  EXPECT_EQ(taken, kWakers * kRounds);
}

TEST_F(WakeTest, TheDriverMayResetWhileAHostThreadWakes) {
  constexpr int kResets = 300;
  std::atomic<bool> stop{false};
  slot.device->on_notify = [this](std::uint16_t queue) {
    EXPECT_TRUE(slot.device->active);
    slot.device->answer(queue);
  };
  std::thread host([&] {
    while (!stop) {
      slot.device->transport->wake(0);
      slot.device->transport->wake_config();
    }
  });
  for (int i = 0; i < kResets; ++i) {
    slot.start();
    slot.rings[0].offer(0);
    slot.set(0x44, 0);
  }
  stop = true;
  host.join();
  slot.start();
  slot.rings[0].offer(0);
  slot.device->transport->wake(0);
  EXPECT_EQ(slot.rings[0].used_index(), 1);
}

// Each device's threads wake both, and their service reaches for the other's registers.
TEST(WakeDevicesTest, DevicesThatWakeEachOtherNeverWaitInACircle) {
  constexpr int kRounds = 1000;
  Guest guest;
  ScriptedSlot a(guest, 0), b(guest, 1);
  const std::array<ScriptedSlot*, 2> slots{&a, &b};
  for (std::size_t i = 0; i < 2; ++i) {
    slots[i]->start();
    slots[i]->device->on_notify = [&, i](std::uint16_t) {
      std::uint32_t status = 0;
      slots[i]->device->transport->dma().load(ScriptedSlot::address_of(1 - i) + 0x70, status);
      slots[1 - i]->device->transport->wake(1);
    };
  }
  const auto run = [&](std::size_t i) {
    for (int n = 0; n < kRounds; ++n) slots[i]->device->transport->wake(0);
  };
  std::thread first(run, 0), second(run, 1);
  for (int n = 0; n < kRounds; ++n) slots[static_cast<std::size_t>(n) % 2]->touch();
  first.join();
  second.join();
  EXPECT_GT(a.device->notifications[1], 0);
  EXPECT_GT(b.device->notifications[1], 0);
}

class DeferTest : public WakeTest {
 protected:
  DeferTest() {
    slot.device->on_notify = [this](std::uint16_t queue) { slot.device->transport->defer(queue); };
  }
  int notifications() const {
    return slot.device->notifications[0] + slot.device->notifications[1];
  }
};

TEST_F(DeferTest, OneQueueGoesOnAtAnAccessAndTheOthersInTheirTurn) {
  for (std::uint16_t i = 0; i < 2; ++i) slot.ring_bell(i);
  const std::array<int, 2> before = slot.device->notifications;
  for (int i = 1; i <= 6; ++i) {
    slot.touch();
    EXPECT_EQ(notifications(), before[0] + before[1] + i);
  }
  EXPECT_EQ(slot.device->notifications, (std::array<int, 2>{before[0] + 3, before[1] + 3}));
}

TEST_F(DeferTest, AnInterruptStandsUntilTheLastQueueHasGoneOn) {
  for (std::uint16_t i = 0; i < 2; ++i) slot.ring_bell(i);
  slot.device->on_notify = nullptr;
  slot.set(0x64, 3);
  EXPECT_EQ(slot.line.level(), Level::kHigh);
  slot.set(0x64, 3);
  EXPECT_EQ(slot.line.level(), Level::kLow);
  EXPECT_EQ(slot.get(0x60), 0u);
}

}  // namespace
}  // namespace vm_device
