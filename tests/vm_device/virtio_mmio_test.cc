#include "vm_device/virtio_mmio.h"

#include <gtest/gtest.h>

#include <thread>

#include "tests/vm_device/blk_machine.h"

namespace vm_device {
namespace {

using vm_mem::AccessFault;
using vm_mem::GuestAddress;

constexpr std::uint64_t kMagicOffset = 0x00;
constexpr std::uint64_t kFeatures = 0x10;
constexpr std::uint64_t kFeaturesSelect = 0x14;
constexpr std::uint64_t kQueueSelect = 0x30;
constexpr std::uint64_t kQueueSizeMax = 0x34;
constexpr std::uint64_t kQueueSize = 0x38;
constexpr std::uint64_t kQueueReady = 0x44;
constexpr std::uint64_t kInterruptStatus = 0x60;
constexpr std::uint64_t kInterruptAck = 0x64;
constexpr std::uint64_t kStatus = 0x70;
constexpr std::uint64_t kConfig = 0x100;

class VirtioMmioTest : public testing::Test {
 protected:
  VirtioMmioTest() : machine(std::make_unique<MemoryImage>(64)) {}

  std::uint64_t offered() {
    machine.set_reg(kFeaturesSelect, 1);
    const std::uint64_t high = machine.reg(kFeatures);
    machine.set_reg(kFeaturesSelect, 0);
    return high << 32 | machine.reg(kFeatures);
  }

  BlkMachine machine;
};

TEST_F(VirtioMmioTest, IdentifiesItselfAsVersionTwo) {
  EXPECT_EQ(machine.reg(kMagicOffset), 0x74726976u);
  EXPECT_EQ(machine.reg(0x04), 2u);
  EXPECT_EQ(machine.reg(0x08), 2u);
  EXPECT_EQ(machine.reg(0x0c), 0x4d454d56u);
}

TEST_F(VirtioMmioTest, OffersTheFeaturesOfDeviceRingAndTransport) {
  constexpr std::uint64_t kDevice = (1 << 24) - 1;
  EXPECT_EQ(offered() & ~kDevice,
            (1ull << 40) | (1ull << 35) | (1ull << 34) | (1ull << 32) | (1 << 29) | (1 << 28));
  EXPECT_EQ(offered() & kDevice, 1 << 2 | 1 << 6 | 1 << 9 | 1 << 10 | 1 << 11 | 1 << 13 | 1 << 14);
  machine.set_reg(kFeaturesSelect, 2);
  EXPECT_EQ(machine.reg(kFeatures), 0u);
}

TEST_F(VirtioMmioTest, FeaturesOkNeedsVersion1) {
  machine.accept(kFeatureFlush);
  machine.set_reg(kStatus, 11);
  EXPECT_EQ(machine.reg(kStatus), 3u);
}

TEST_F(VirtioMmioTest, FeaturesOkRefusesWhatWasNotOffered) {
  machine.accept(kFeatureVersion1 | 1 << 5);
  machine.set_reg(kStatus, 11);
  EXPECT_EQ(machine.reg(kStatus), 3u);
  machine.accept(kFeatureVersion1);
  machine.set_reg(kStatus, 11);
  EXPECT_EQ(machine.reg(kStatus), 11u);
}

TEST_F(VirtioMmioTest, DriverOkNeedsFeaturesOk) {
  machine.set_reg(kStatus, 7);
  EXPECT_EQ(machine.reg(kStatus), 3u);
}

TEST_F(VirtioMmioTest, StatusBitsAreClearedByResetAlone) {
  machine.set_reg(kStatus, 3);
  machine.set_reg(kStatus, 1);
  EXPECT_EQ(machine.reg(kStatus), 3u);
  machine.set_reg(kStatus, 0);
  EXPECT_EQ(machine.reg(kStatus), 0u);
}

TEST_F(VirtioMmioTest, TheDriverCannotSetNeedsReset) {
  machine.set_reg(kStatus, 0xff);
  EXPECT_EQ(machine.reg(kStatus) & 64, 0u);
}

TEST_F(VirtioMmioTest, AQueueThatDoesNotExistHasSizeZero) {
  EXPECT_EQ(machine.reg(kQueueSizeMax), 256u);
  for (const std::uint32_t index : {1u, 0x10000u, UINT32_MAX}) {
    machine.set_reg(kQueueSelect, index);
    EXPECT_EQ(machine.reg(kQueueSizeMax), 0u);
    machine.set_reg(kQueueReady, 1);
    EXPECT_EQ(machine.reg(kQueueReady), 0u);
  }
}

TEST_F(VirtioMmioTest, AQueueOfAnImpossibleSizeNeverBecomesReady) {
  for (const std::uint32_t size : {0u, 3u, 512u, 0x10010u}) {
    machine.negotiate(kFeatureVersion1);
    machine.set_reg(kQueueSize, size);
    machine.set_reg(kQueueReady, 1);
    EXPECT_EQ(machine.reg(kQueueReady), 0u) << size;
    EXPECT_TRUE(machine.needs_reset());
    EXPECT_EQ(machine.slot.queue_error(0), VirtqueueError::kBadSize);
    EXPECT_EQ(machine.line.level(), Level::kLow);  // the driver is not ready for it
  }
}

TEST_F(VirtioMmioTest, NoQueueBecomesReadyBeforeTheFeaturesAreSettled) {
  machine.set_reg(kStatus, 3);
  machine.accept(kFeatureVersion1);
  machine.set_up_queue(machine.ring.config());
  EXPECT_EQ(machine.reg(kQueueReady), 0u);
  machine.set_reg(kStatus, 11);
  machine.set_reg(kQueueReady, 1);
  EXPECT_EQ(machine.reg(kQueueReady), 1u);
}

TEST_F(VirtioMmioTest, AReadyQueueKeepsItsAddresses) {
  machine.start();
  machine.set_reg(kQueueSize, 1);
  machine.set_reg64(0x80, 0);
  machine.request(4, 0, 0);
  EXPECT_EQ(machine.status_byte(), 0);
  machine.set_reg(kQueueReady, 0);
  machine.ring.clear();
  machine.set_reg(kQueueReady, 1);
  for (int i = 0; i < 2; ++i) machine.request(4, 0, 0);
  EXPECT_EQ(machine.ring.used_index(), 2);
}

TEST_F(VirtioMmioTest, AQueueThatIsNotReadyIsNotServed) {
  machine.start();
  machine.set_reg(kQueueReady, 0);
  EXPECT_EQ(machine.reg(kQueueReady), 0u);
  machine.request(4, 0, 0);
  EXPECT_EQ(machine.ring.used_index(), 0);
}

TEST_F(VirtioMmioTest, NothingIsServedBeforeDriverOk) {
  machine.set_reg(kStatus, 3);
  machine.accept(kFeatureVersion1);
  machine.set_reg(kStatus, 11);
  machine.set_up_queue(machine.ring.config());
  machine.request(4, 0, 0);
  EXPECT_EQ(machine.ring.used_index(), 0);
  machine.set_reg(kStatus, 15);
  machine.kick();
  EXPECT_EQ(machine.ring.used_index(), 1);
}

TEST_F(VirtioMmioTest, ANotificationOfAQueueThatDoesNotExistIsIgnored) {
  machine.start();
  machine.set_reg(0x50, 1);
  machine.set_reg(0x50, 0x10000);
  EXPECT_FALSE(machine.needs_reset());
}

TEST_F(VirtioMmioTest, UsedBuffersRaiseTheLineUntilAcknowledged) {
  machine.start();
  machine.request(4, 0, 0);
  EXPECT_EQ(machine.reg(kInterruptStatus), 1u);
  EXPECT_EQ(machine.line.level(), Level::kHigh);
  machine.set_reg(kInterruptAck, 2);
  EXPECT_EQ(machine.line.level(), Level::kHigh);
  machine.set_reg(kInterruptAck, 1);
  EXPECT_EQ(machine.reg(kInterruptStatus), 0u);
  EXPECT_EQ(machine.line.level(), Level::kLow);
}

TEST_F(VirtioMmioTest, ADriverThatPollsIsNotInterrupted) {
  machine.start();
  machine.ring.set_available_flags(1);
  machine.request(4, 0, 0);
  EXPECT_EQ(machine.ring.used_index(), 1);
  EXPECT_EQ(machine.line.rises(), 0);
}

TEST_F(VirtioMmioTest, AQueueErrorAsksForAResetAndInterrupts) {
  machine.start();
  machine.ring.offer(99);
  machine.kick();
  EXPECT_TRUE(machine.needs_reset());
  EXPECT_TRUE(machine.config_interrupt());
  EXPECT_EQ(machine.line.level(), Level::kHigh);
  EXPECT_EQ(machine.slot.queue_error(0), VirtqueueError::kHeadOutOfRange);
}

TEST_F(VirtioMmioTest, AStoppedQueueIsNotStartedAgainByReady) {
  machine.start();
  machine.ring.offer(99);
  machine.kick();
  machine.set_reg(kQueueReady, 0);
  machine.set_reg(kQueueReady, 1);
  EXPECT_EQ(machine.slot.queue_error(0), VirtqueueError::kHeadOutOfRange);
}

TEST_F(VirtioMmioTest, AStoppedQueueReadsBackThatItIsNotReady) {
  machine.start();
  machine.ring.offer(99);
  machine.kick();
  machine.set_reg(kQueueReady, 0);
  EXPECT_EQ(machine.reg(kQueueReady), 0u);
  machine.set_reg(kQueueReady, 1);
  EXPECT_EQ(machine.reg(kQueueReady), 0u);
  EXPECT_EQ(machine.slot.queue_error(0), VirtqueueError::kHeadOutOfRange);
}

TEST_F(VirtioMmioTest, WhatWasServedBeforeAQueueErrorIsSignalled) {
  machine.start();
  machine.put_header(4, 0);
  machine.ring.write_chain(machine.ring.table(), {BlkMachine::header(), BlkMachine::status()});
  machine.ring.offer(0);
  machine.ring.offer(99);
  machine.kick();
  EXPECT_EQ(machine.ring.used_index(), 1);
  EXPECT_EQ(machine.reg(kInterruptStatus), 3u);
}

TEST_F(VirtioMmioTest, AnErrorFromBeforeDriverOkInterruptsAtDriverOk) {
  VirtqueueConfig config = machine.ring.config();
  config.size = 12;
  machine.start_with(config, kFeatureVersion1);
  EXPECT_TRUE(machine.needs_reset());
  EXPECT_TRUE(machine.config_interrupt());
}

TEST_F(VirtioMmioTest, ResetClearsEverything) {
  machine.start();
  machine.ring.offer(99);
  machine.kick();
  machine.set_reg(kStatus, 0);
  EXPECT_EQ(machine.reg(kStatus), 0u);
  EXPECT_EQ(machine.reg(kInterruptStatus), 0u);
  EXPECT_EQ(machine.reg(kQueueReady), 0u);
  EXPECT_EQ(machine.line.level(), Level::kLow);
  EXPECT_EQ(machine.slot.queue_error(0), VirtqueueError::kNone);
  machine.start();
  machine.request(4, 0, 0);
  EXPECT_EQ(machine.status_byte(), 0);
}

TEST_F(VirtioMmioTest, RegistersOfOtherWidthsReadAsZero) {
  for (std::uint64_t offset = 0; offset < kConfig; offset += 8) {
    EXPECT_EQ(machine.guest.get<std::uint8_t>(kSlot + offset), 0u);
    EXPECT_EQ(machine.guest.get<std::uint16_t>(kSlot + offset + 2), 0u);
    EXPECT_EQ(machine.guest.get<std::uint64_t>(kSlot + offset), 0u);
  }
}

TEST_F(VirtioMmioTest, WritesOfOtherWidthsAreIgnored) {
  machine.guest.put(kSlot + kStatus, std::uint8_t{1});
  machine.guest.put(kSlot + kStatus, std::uint16_t{1});
  machine.guest.put(kSlot + kStatus, std::uint64_t{1});
  EXPECT_EQ(machine.reg(kStatus), 0u);
}

TEST_F(VirtioMmioTest, OffsetsWithoutARegisterReadAsZero) {
  for (const std::uint64_t offset :
       {0x18u, 0x1cu, 0x28u, 0x40u, 0x54u, 0x78u, 0xa8u, 0xc0u, 0xf8u}) {
    machine.set_reg(offset, UINT32_MAX);
    EXPECT_EQ(machine.reg(offset), 0u) << offset;
  }
  EXPECT_EQ(machine.reg(kStatus), 0u);
}

TEST_F(VirtioMmioTest, ThereIsNoSharedMemory) {
  for (const std::uint64_t offset : {0xb0u, 0xb4u, 0xb8u, 0xbcu}) {
    EXPECT_EQ(machine.reg(offset), UINT32_MAX);
  }
}

TEST_F(VirtioMmioTest, ConfigIsReadInEveryWidth) {
  EXPECT_EQ(machine.guest.get<std::uint64_t>(kSlot + kConfig), 64u);
  EXPECT_EQ(machine.guest.get<std::uint32_t>(kSlot + kConfig), 64u);
  EXPECT_EQ(machine.guest.get<std::uint32_t>(kSlot + kConfig + 12), 254u);
  EXPECT_EQ(machine.guest.get<std::uint16_t>(kSlot + kConfig + 20), 512u);
  EXPECT_EQ(machine.guest.get<std::uint8_t>(kSlot + kConfig + 21), 2u);
  EXPECT_EQ(machine.guest.get<std::uint64_t>(kSlot + kVirtioMmioBytes - 8), 0u);
}

TEST_F(VirtioMmioTest, ConfigOfABlockDeviceCannotBeWritten) {
  machine.guest.put(kSlot + kConfig, std::uint64_t{1});
  EXPECT_EQ(machine.guest.get<std::uint64_t>(kSlot + kConfig), 64u);
  EXPECT_EQ(machine.reg(0xfc), 0u);
}

TEST(VirtioMmioSlotTest, AnEmptySlotHasDeviceIdZero) {
  Guest guest;
  RecordingLine line;
  VirtioMmio slot(*guest.memory, nullptr, line);
  ASSERT_TRUE(guest.bus.attach(guest_range(kSlot, kVirtioMmioBytes), &slot, "empty").ok());
  EXPECT_EQ(guest.get<std::uint32_t>(kSlot), 0x74726976u);
  EXPECT_EQ(guest.get<std::uint32_t>(kSlot + 4), 2u);
  EXPECT_EQ(guest.get<std::uint32_t>(kSlot + 8), 0u);
  for (std::uint64_t offset = 8; offset < kVirtioMmioBytes; offset += 4) {
    guest.put(kSlot + offset, UINT32_MAX);
    EXPECT_EQ(guest.get<std::uint32_t>(kSlot + offset), offset == 0xc ? 0x4d454d56u : 0u);
  }
  EXPECT_EQ(line.rises(), 0);
}

// A device without queues of its own, for what the block device does not do.
class TwoQueues final : public VirtioDevice {
 public:
  std::uint32_t device_id() const override { return 42; }
  std::uint64_t device_features() const override { return 0; }
  std::uint16_t queue_count() const override { return 2; }
  std::uint16_t max_queue_size(std::uint16_t) const override { return 16; }
  void read_config(std::uint64_t, std::span<std::byte> to) const override {
    std::copy_n(written_.begin(), to.size(), to.begin());
  }
  void write_config(std::uint64_t, std::span<const std::byte> from) override {
    std::copy(from.begin(), from.end(), written_.begin());
    if (transport_ != nullptr) transport_->signal_config();
  }
  void activate(VirtioTransport& transport) override { transport_ = &transport; }
  void reset() override { transport_ = nullptr; }
  void notify(std::uint16_t index) override {
    ++notifications[index];
    if (defer_once) transport_->defer(index);
    defer_once = false;
    DescriptorChain chain;
    if (transport_->queue(index).pop(chain) != PopStatus::kChain) return;
    transport_->queue(index).push(chain, 0);
    transport_->signal_used(index);
  }

  std::array<int, 2> notifications{};
  bool defer_once = false;

 private:
  std::array<std::byte, 8> written_{};
  VirtioTransport* transport_ = nullptr;
};

class TwoQueuesTest : public testing::Test {
 protected:
  TwoQueuesTest()
      : slot(*guest.memory, std::unique_ptr<VirtioDevice>(device), line),
        rings{DriverRing(guest, kRamBase, 16), DriverRing(guest, kRamBase + 0x10000, 16)} {
    EXPECT_TRUE(guest.bus.attach(guest_range(kSlot, kVirtioMmioBytes), &slot, "two").ok());
    set(0x70, 3);
    set(0x24, 1);
    set(0x20, 1);
    set(0x70, 11);
    for (std::uint32_t i = 0; i < 2; ++i) set_up(i);
    set(0x70, 15);
  }
  void set(std::uint64_t offset, std::uint32_t value) { guest.put(kSlot + offset, value); }
  std::uint32_t get(std::uint64_t offset) { return guest.get<std::uint32_t>(kSlot + offset); }
  void set_up(std::uint32_t index) {
    set(0x30, index);
    set(0x38, 16);
    set(0x80, static_cast<std::uint32_t>(rings[index].table()));
    set(0x90, static_cast<std::uint32_t>(rings[index].available()));
    set(0xa0, static_cast<std::uint32_t>(rings[index].used()));
    set(0x44, 1);
    EXPECT_EQ(get(0x44), 1u);
  }

  Guest guest;
  RecordingLine line;
  TwoQueues* device = new TwoQueues;  // owned by slot
  VirtioMmio slot;
  std::array<DriverRing, 2> rings;
};

TEST_F(TwoQueuesTest, AnErrorInOneQueueLeavesTheOther) {
  rings[0].offer(99);
  set(0x50, 0);
  EXPECT_EQ(get(0x70), 15u | 64u);
  rings[1].offer(0);
  set(0x50, 1);
  EXPECT_EQ(rings[1].used_index(), 1);
  set(0x50, 0);
  EXPECT_EQ(device->notifications, (std::array<int, 2>{1, 1}));
}

TEST_F(TwoQueuesTest, DeferredWorkGoesOnAtTheNextAccess) {
  device->defer_once = true;
  rings[0].offer(0);
  rings[0].offer(0);
  rings[0].set_available_flags(1);
  set(0x50, 0);
  EXPECT_EQ(rings[0].used_index(), 1);
  EXPECT_EQ(line.level(), Level::kHigh);
  set(0x64, 1);
  EXPECT_EQ(rings[0].used_index(), 2);
  get(0x60);
  EXPECT_EQ(device->notifications[0], 2);
}

TEST_F(TwoQueuesTest, AConfigChangeInterruptsAndCounts) {
  guest.put(kSlot + 0x100, std::uint16_t{0x1234});
  EXPECT_EQ(guest.get<std::uint16_t>(kSlot + 0x100), 0x1234);
  EXPECT_EQ(get(0xfc), 1u);
  EXPECT_EQ(get(0x60), 2u);
}

// What a driver does to the device at `slot` up to DRIVER_OK, for a ring of 16.
void bring_up(Guest& guest, std::uint64_t slot, const DriverRing& ring) {
  const auto set = [&](std::uint64_t offset, std::uint64_t value) {
    guest.put(slot + offset, static_cast<std::uint32_t>(value));
  };
  set(0x70, 3);
  set(0x24, 1);
  set(0x20, 1);
  set(0x70, 11);
  set(0x38, 16);
  set(0x80, ring.table());
  set(0x90, ring.available());
  set(0xa0, ring.used());
  set(0x44, 1);
  set(0x70, 15);
}

// The disk read of one device rings the bell of another.
TEST(VirtioMmioChainTest, ABellThatAnotherDeviceRingsIsAnsweredAtTheNextAccess) {
  constexpr std::uint64_t kOther = kSlot + 0x1000;
  auto image = std::make_unique<MemoryImage>(64);
  std::fill_n(image->content.begin(), 512, std::byte{0});  // names queue 0
  BlkMachine machine(std::move(image));
  RecordingLine line;
  VirtioMmio other(*machine.guest.memory,
                   VirtioBlk::create(std::make_unique<MemoryImage>(64)).value(), line);
  ASSERT_TRUE(machine.guest.bus.attach(guest_range(kOther, kVirtioMmioBytes), &other, "b").ok());
  DriverRing ring(machine.guest, kRamBase + 0x4'0000, 16);
  bring_up(machine.guest, kOther, ring);
  machine.start();
  machine.put_header(0, 0);
  const RawDescriptor status{BlkMachine::kStatus + 8, 1, kWrite, 0};
  ring.offer_chain({BlkMachine::header(), BlkMachine::data(512, kWrite), status});
  machine.ring.offer_chain({BlkMachine::header(),
                            {kOther + 0x50, 4, kWrite, 0},
                            BlkMachine::data(508, kWrite),
                            BlkMachine::status()});
  machine.kick();
  EXPECT_EQ(machine.status_byte(), 0);
  EXPECT_EQ(ring.used_index(), 0);
  EXPECT_EQ(line.level(), Level::kHigh);
  machine.guest.get<std::uint32_t>(kOther + 0x60);
  EXPECT_EQ(ring.used_index(), 1);
}

// Two block devices on two threads, each reading from disk into the other's
// registers: neither may wait for the other.
TEST(VirtioMmioThreadsTest, DevicesThatReachForEachOtherDoNotDeadlock) {
  constexpr std::uint64_t kOther = kSlot + 0x1000;
  constexpr int kRequests = 3000;
  BlkMachine machine(std::make_unique<MemoryImage>(64));
  RecordingLine line;
  VirtioMmio other(*machine.guest.memory,
                   VirtioBlk::create(std::make_unique<MemoryImage>(64)).value(), line);
  ASSERT_TRUE(machine.guest.bus.attach(guest_range(kOther, kVirtioMmioBytes), &other, "b").ok());
  const auto drive = [&](std::uint64_t slot, std::uint64_t target, std::uint64_t area) {
    DriverRing ring(machine.guest, area, 16);
    bring_up(machine.guest, slot, ring);
    const std::uint64_t header = area + 0x10000;
    machine.guest.put_bytes(header, std::vector<std::byte>(16));
    for (int i = 0; i < kRequests; ++i) {
      // The target's configuration space ignores what is written to it.
      ring.offer_chain(
          {{header, 16, 0, 0}, {target + 0x200, 512, kWrite, 0}, {header + 64, 1, kWrite, 0}});
      machine.guest.put(slot + 0x50, std::uint32_t{0});
    }
    EXPECT_EQ(ring.used_index(), kRequests);
  };
  std::thread second([&] { drive(kOther, kSlot, kRamBase + 0x40000); });
  drive(kSlot, kOther, kRamBase + 0x20000);
  second.join();
}

}  // namespace
}  // namespace vm_device
