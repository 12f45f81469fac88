#include "vm_device/internal/transport_gate.h"

#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <thread>
#include <vector>

#include "tests/vm_device/scripted_slot.h"

namespace vm_device {
namespace {

using internal::TransportGate;

constexpr std::uint64_t kQueueReset = 0xc0;
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

class QueueErrorTest : public testing::Test {
 protected:
  // A request that no queue can be asked.
  void spoil(std::uint16_t queue) { slot.rings[queue].offer(99); }
  bool config_interrupt() const { return (slot.get(0x60) & 2) != 0; }
  void acknowledge() { slot.set(0x64, 3); }

  Guest guest;
  ScriptedSlot slot{guest, 0};
};

TEST_F(QueueErrorTest, OfAnotherQueueThanTheOneNotifiedIsTold) {
  slot.start();
  slot.device->on_notify = [this](std::uint16_t) { slot.device->answer(1); };
  spoil(1);
  slot.ring_bell(0);
  EXPECT_EQ(slot.mmio.queue_error(1), VirtqueueError::kHeadOutOfRange);
  EXPECT_EQ(slot.get(0x70), 15u | 64u);
  EXPECT_TRUE(config_interrupt());
}

TEST_F(QueueErrorTest, OfEachQueueInterrupts) {
  slot.start();
  slot.device->on_notify = [this](std::uint16_t queue) { slot.device->answer(queue); };
  for (std::uint16_t i = 0; i < 2; ++i) {
    spoil(i);
    slot.ring_bell(i);
    EXPECT_TRUE(config_interrupt()) << i;
    acknowledge();
    slot.ring_bell(i);
    EXPECT_FALSE(config_interrupt()) << i;  // once
  }
}

TEST_F(QueueErrorTest, ThatComesAgainAfterARingResetInterruptsAgain) {
  slot.start(kFeatureVersion1 | kFeatureRingReset);
  slot.device->on_notify = [this](std::uint16_t queue) { slot.device->answer(queue); };
  for (int i = 0; i < 2; ++i) {
    slot.rings[0].clear();
    slot.set_up(0);
    spoil(0);
    slot.ring_bell();
    EXPECT_TRUE(config_interrupt()) << i;
    acknowledge();
    slot.set(0x30, 0);
    slot.set(kQueueReset, 1);
  }
}

TEST_F(QueueErrorTest, IsToldWhateverCallOfTheDeviceFoundIt) {
  const std::function<void()> look = [this] { slot.device->answer(1); };
  slot.device->on_activate = look;
  EXPECT_EQ(slot.negotiate(kFeatureVersion1), 11u);
  for (std::uint16_t i = 0; i < 2; ++i) slot.set_up(i);
  spoil(1);
  slot.set(0x70, 15);
  EXPECT_TRUE(config_interrupt());

  slot.device->on_activate = nullptr;
  slot.device->on_write_config = look;
  slot.start();
  spoil(1);
  slot.set(0x100, 1);
  EXPECT_TRUE(config_interrupt());

  slot.device->on_take_config = look;
  slot.start();
  spoil(1);
  slot.device->transport->wake_config();
  EXPECT_EQ(slot.get(0x70), 15u | 64u);

  slot.device->on_reset_queue = look;
  slot.start();
  spoil(1);
  slot.set(0x30, 0);
  slot.set(0x44, 0);
  EXPECT_TRUE(config_interrupt());
}

class RingResetTest : public testing::Test {
 protected:
  RingResetTest() {
    slot.device->on_notify = [this](std::uint16_t queue) { slot.device->answer(queue); };
  }
  void reset_queue(std::uint16_t queue) {
    slot.set(0x30, queue);
    slot.set(kQueueReset, 1);
  }

  Guest guest;
  ScriptedSlot slot{guest, 0};
};

TEST_F(RingResetTest, OneQueueStartsAnewAndTheOtherGoesOn) {
  slot.start(kFeatureVersion1 | kFeatureRingReset);
  for (std::uint16_t i = 0; i < 2; ++i) {
    slot.rings[i].offer(0);
    slot.ring_bell(i);
  }
  reset_queue(0);
  EXPECT_EQ(slot.get(kQueueReset), 0u);
  EXPECT_EQ(slot.get(0x44), 0u);
  EXPECT_EQ(slot.device->resets, (std::array<int, 2>{1, 0}));
  slot.rings[0].clear();
  slot.set_up(0);
  for (std::uint16_t i = 0; i < 2; ++i) {
    slot.rings[i].offer(0);
    slot.ring_bell(i);
  }
  EXPECT_EQ(slot.rings[0].used_index(), 1);
  EXPECT_EQ(slot.rings[1].used_index(), 2);
}

TEST_F(RingResetTest, AStoppedQueueStartsAgain) {
  slot.start(kFeatureVersion1 | kFeatureRingReset);
  slot.rings[0].offer(99);
  slot.ring_bell();
  EXPECT_EQ(slot.mmio.queue_error(0), VirtqueueError::kHeadOutOfRange);
  reset_queue(0);
  slot.rings[0].clear();
  slot.set_up(0);
  slot.rings[0].offer(0);
  slot.ring_bell();
  EXPECT_EQ(slot.rings[0].used_index(), 1);
  EXPECT_EQ(slot.get(0x70), 15u | 64u);  // cleared by a reset of the device alone
}

TEST_F(RingResetTest, TheSetUpOfAQueueIsForgotten) {
  slot.start(kFeatureVersion1 | kFeatureRingReset);
  reset_queue(0);
  slot.set(0x44, 1);
  EXPECT_EQ(slot.get(0x44), 0u);
  EXPECT_EQ(slot.mmio.queue_error(0), VirtqueueError::kBadSize);
}

TEST_F(RingResetTest, WithoutTheFeatureTheRegisterIsIgnored) {
  slot.start();
  reset_queue(0);
  EXPECT_EQ(slot.get(0x44), 1u);
  EXPECT_EQ(slot.device->resets[0], 0);
  EXPECT_NE(slot.offered() & kFeatureRingReset, 0u);
}

TEST_F(RingResetTest, AQueueThatIsTakenBackForgetsItsRequestsToo) {
  slot.start();
  slot.set(0x30, 1);
  slot.set(0x44, 0);
  EXPECT_EQ(slot.device->resets, (std::array<int, 2>{0, 1}));
}

// By another device's DMA, which does not do what was put off first.
TEST_F(RingResetTest, WorkThatWasPutOffIsForgotten) {
  ScriptedSlot other(guest, 1);
  slot.start(kFeatureVersion1 | kFeatureRingReset);
  other.start();
  slot.device->on_notify = [this](std::uint16_t queue) { slot.device->transport->defer(queue); };
  slot.ring_bell();
  slot.device->on_notify = nullptr;
  const int before = slot.device->notifications[0];
  other.device->on_notify = [&](std::uint16_t) {
    const auto set = [&](std::uint64_t offset, std::uint64_t value) {
      DmaSpace& dma = other.device->transport->dma();
      const std::uint64_t to = ScriptedSlot::address_of(0) + offset;
      EXPECT_TRUE(dma.store(to, static_cast<std::uint32_t>(value)).ok());
    };
    set(0x30, 0);
    set(kQueueReset, 1);
    set(0x38, 16);
    set(0x80, slot.rings[0].table());
    set(0x90, slot.rings[0].available());
    set(0xa0, slot.rings[0].used());
    set(0x44, 1);
  };
  other.ring_bell();
  EXPECT_EQ(slot.device->notifications[0], before);
  slot.touch();
  EXPECT_EQ(slot.get(0x44), 1u);
  EXPECT_EQ(slot.device->notifications[0], before);
}

class AccessPlatformTest : public testing::Test {
 protected:
  static constexpr std::uint64_t kShift = kRamBase;
  static constexpr IommuDeviceId kDevice{3};

  AccessPlatformTest() {
    const IommuDomainId domain = iommu->create_domain().value();
    EXPECT_TRUE(iommu->add_device(kDevice).ok());
    EXPECT_TRUE(iommu->attach(kDevice, domain).ok());
    EXPECT_TRUE(iommu
                    ->map(domain, {kRamBase - kShift, kRamBytes}, vm_mem::GuestAddress{kRamBase},
                          DmaAccess::kReadWrite)
                    .ok());
  }
  ScriptedSlot slot_with(AccessPlatform wish) {
    return {guest, 0, {.iommu = iommu.get(), .device = kDevice, .access_platform = wish}};
  }

  Guest guest;
  std::unique_ptr<Iommu> iommu = std::move(Iommu::create({}).value());
};

TEST_F(AccessPlatformTest, RingsAreFoundThroughTheIommu) {
  ScriptedSlot slot = slot_with(AccessPlatform::kRequired);
  slot.device->on_notify = [&](std::uint16_t queue) { slot.device->answer(queue); };
  EXPECT_NE(slot.offered() & kFeatureAccessPlatform, 0u);
  slot.start(kFeatureVersion1 | kFeatureAccessPlatform, kShift);
  slot.rings[0].offer(0);
  slot.ring_bell();
  EXPECT_EQ(slot.rings[0].used_index(), 1);
}

TEST_F(AccessPlatformTest, AGuestAddressIsNotABusAddress) {
  ScriptedSlot slot = slot_with(AccessPlatform::kOptional);
  slot.device->on_notify = [&](std::uint16_t queue) { slot.device->answer(queue); };
  slot.start();
  slot.rings[0].offer(0);
  slot.ring_bell();
  EXPECT_EQ(slot.mmio.queue_error(0), VirtqueueError::kRingUnreachable);
  std::array<IommuFault, 4> faults;
  ASSERT_EQ(iommu->poll_faults(faults), 1u);
  EXPECT_EQ(faults[0].device, kDevice);
  EXPECT_EQ(faults[0].address, slot.rings[0].available() + 2);
}

TEST_F(AccessPlatformTest, ADriverWithoutItIsServedWhereItIsOptional) {
  ScriptedSlot slot = slot_with(AccessPlatform::kOptional);
  EXPECT_EQ(slot.negotiate(kFeatureVersion1), 11u);
}

TEST_F(AccessPlatformTest, ADriverWithoutItIsRefusedWhereItIsRequired) {
  ScriptedSlot slot = slot_with(AccessPlatform::kRequired);
  EXPECT_EQ(slot.negotiate(kFeatureVersion1), 3u);
  EXPECT_EQ(slot.negotiate(kFeatureVersion1 | kFeatureAccessPlatform), 11u);
}

TEST(WithheldFeaturesTest, AreNeitherOfferedNorAccepted) {
  Guest guest;
  ScriptedSlot slot(guest, 0, {.withheld_features = kFeatureRingPacked | kFeatureVersion1});
  EXPECT_EQ(slot.offered() & (kFeatureRingPacked | kFeatureInOrder), kFeatureInOrder);
  EXPECT_EQ(slot.negotiate(kFeatureVersion1 | kFeatureRingPacked), 3u);
  EXPECT_EQ(slot.negotiate(kFeatureVersion1), 11u);  // this one cannot be withheld
}

TEST(WithheldFeaturesTest, NoRingHasTheFormOfThoseThatTheDriverTookBack) {
  Guest guest;
  ScriptedSlot slot(guest, 0, {.withheld_features = kFeatureRingPacked});
  slot.set(0x70, 3);
  slot.set(0x24, 1);
  slot.set(0x20, (kFeatureVersion1 | kFeatureRingPacked) >> 32);
  slot.set_up(0);
  slot.set(0x20, kFeatureVersion1 >> 32);
  slot.set(0x70, 11);
  EXPECT_EQ(slot.get(0x44), 0u);
  slot.set(0x44, 1);
  slot.set(0x70, 15);
  slot.device->on_notify = [&](std::uint16_t queue) { slot.device->answer(queue); };
  slot.rings[0].offer(0);
  slot.ring_bell();
  EXPECT_EQ(slot.rings[0].used_index(), 1);
}

TEST_F(AccessPlatformTest, WithoutAnIommuItIsNotOffered) {
  ScriptedSlot slot(guest, 0, {.access_platform = AccessPlatform::kRequired});
  EXPECT_EQ(slot.offered() & kFeatureAccessPlatform, 0u);
  EXPECT_EQ(slot.negotiate(kFeatureVersion1), 11u);
}

}  // namespace
}  // namespace vm_device
