// What becomes of the queues of a slot: their errors, their resets, and the features and
// addresses that they are used with.
#include <gtest/gtest.h>

#include <array>
#include <functional>
#include <memory>
#include <utility>

#include "tests/vm_device/scripted_slot.h"

namespace vm_device {
namespace {

constexpr std::uint64_t kQueueReset = 0xc0;

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
