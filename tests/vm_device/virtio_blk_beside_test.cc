// virtio-blk whose requests are served beside the guest.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/bytes.h"
#include "tests/support/temporary_file.h"
#include "tests/vm_device/blk_machine.h"
#include "tests/vm_device/gate.h"
#include "vm_device/async_dma.h"
#include "vm_device/raw_image.h"

namespace vm_device {
namespace {

using vm_test::noise;

constexpr std::size_t kSectors = 512;
constexpr std::uint64_t kDeviceBase = 0x1100'0000;
constexpr std::uint64_t kFeatures = kFeatureVersion1 | kFeatureRingIndirect | kFeatureFlush;

// Takes writes, when the gate is open.
class GatedDevice : public vm_mem::MmioHandler {
 public:
  vm_mem::AccessFault mmio_read(std::uint64_t, unsigned, std::uint64_t&) override {
    return vm_mem::AccessFault::kDevice;
  }
  vm_mem::AccessFault mmio_write(std::uint64_t, unsigned size, std::uint64_t) override {
    gate.pass();
    written += size;
    return vm_mem::AccessFault::kNone;
  }
  Gate gate;
  std::atomic<std::uint64_t> written{0};
};

class VirtioBlkBesideTest : public testing::Test {
 protected:
  static constexpr std::uint16_t kSlots = 16;

  VirtioBlkBesideTest() : content(noise(kSectors * 512)), file(content) { make(1); }
  void make(std::uint16_t queues) {
    machine.reset();
    VirtioBlkOptions options{.num_queues = queues, .service = BlkService::kBeside};
    machine = std::make_unique<BlkMachine>(
        RawImage::open(file.path(), ImageAccess::kReadWrite).value(), options);
    EXPECT_TRUE(machine->guest.bus.attach(guest_range(kDeviceBase, 4096), &device, "gated").ok());
    machine->start(kFeatures);
  }

  std::uint64_t header(std::uint16_t slot) const { return kRamBase + 0x1'0000 + slot * 256u; }
  std::uint64_t status(std::uint16_t slot) const { return header(slot) + 16; }
  std::uint64_t table(std::uint16_t slot) const { return header(slot) + 64; }
  std::uint64_t data(std::uint16_t slot) const { return kRamBase + 0x2'0000 + slot * 0x4000u; }

  // Offers a request without a kick: header, data, status, each slot with its own.
  void offer(DriverRing& ring, std::uint16_t slot, std::uint32_t type, std::uint64_t sector,
             std::uint32_t bytes, std::uint64_t at) {
    Guest& guest = machine->guest;
    guest.put(header(slot), type);
    guest.put(header(slot) + 8, sector);
    guest.put(status(slot), BlkMachine::kUntouched);
    const std::uint16_t direction = type == kIn ? kWrite : std::uint16_t{0};
    if (bytes == 0) {
      ring.write_chain(table(slot), {{header(slot), 16, 0, 0}, {status(slot), 1, kWrite, 0}});
    } else {
      ring.write_chain(
          table(slot),
          {{header(slot), 16, 0, 0}, {at, bytes, direction, 0}, {status(slot), 1, kWrite, 0}});
    }
    ring.describe(slot, {table(slot), bytes == 0 ? 32u : 48u, kIndirect, 0});
    ring.offer(slot);
  }
  void offer(std::uint16_t slot, std::uint32_t type, std::uint64_t sector, std::uint32_t bytes) {
    offer(machine->ring, slot, type, sector, bytes, data(slot));
  }
  int answer(std::uint16_t slot) const { return machine->guest.get<std::uint8_t>(status(slot)); }
  // Each look passes the transport, so that what was done under it is seen.
  void wait_for(const DriverRing& ring, std::uint16_t used) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (ring.used_index() != used && std::chrono::steady_clock::now() < end) {
      machine->reg(0x60);
      std::this_thread::yield();
    }
    machine->reg(0x60);
    EXPECT_EQ(ring.used_index(), used);
  }
  void wait_for(std::uint16_t used) { wait_for(machine->ring, used); }
  // One request, with its answer.
  void expect_served(std::uint16_t slot, std::uint32_t type, std::uint64_t sector,
                     std::uint32_t bytes, int expected) {
    const auto before = machine->ring.used_index();
    offer(slot, type, sector, bytes);
    machine->kick();
    wait_for(static_cast<std::uint16_t>(before + 1));
    EXPECT_EQ(answer(slot), expected);
  }
  // A read that stands in the middle, in a device that holds its thread.
  void hold_a_read() {
    offer(machine->ring, 0, kIn, 0, 512, kDeviceBase);
    machine->kick();
    device.gate.wait_for(1);
  }
  std::vector<std::byte> sectors(std::uint64_t first, std::size_t bytes) const {
    const auto begin = content.begin() + static_cast<std::ptrdiff_t>(first * 512);
    return {begin, begin + static_cast<std::ptrdiff_t>(bytes)};
  }

  GatedDevice device;
  std::vector<std::byte> content;
  vm_test::TemporaryFile file;
  std::unique_ptr<BlkMachine> machine;
};

TEST_F(VirtioBlkBesideTest, ManyReadsAreInFlightAndEachGetsItsSectors) {
  for (std::uint16_t round = 0; round < 20; ++round) {
    for (std::uint16_t slot = 0; slot < kSlots; ++slot) {
      offer(slot, kIn, slot * 29u + round, 512u * (1 + slot % 8u));
    }
    machine->kick();
    wait_for(static_cast<std::uint16_t>((round + 1) * kSlots));
    for (std::uint16_t slot = 0; slot < kSlots; ++slot) {
      const std::uint32_t bytes = 512u * (1 + slot % 8u);
      EXPECT_EQ(answer(slot), kOk);
      EXPECT_EQ(machine->guest.bytes(data(slot), bytes), sectors(slot * 29u + round, bytes));
    }
  }
  EXPECT_FALSE(machine->needs_reset());
}

TEST_F(VirtioBlkBesideTest, WhatIsInMemoryIsAnsweredInTheTurnThatTakesIt) {
  const auto ring = AsyncDma::create({.backend = AsyncBackend::kIoUring});
  if (absl::IsUnimplemented(ring.status())) GTEST_SKIP() << ring.status();
  const int memory = ::memfd_create("image", MFD_CLOEXEC);
  ASSERT_EQ(::pwrite(memory, content.data(), content.size(), 0),
            static_cast<ssize_t>(content.size()));
  machine.reset();
  machine = std::make_unique<BlkMachine>(
      RawImage::open("/proc/self/fd/" + std::to_string(memory), ImageAccess::kReadWrite).value(),
      VirtioBlkOptions{.service = BlkService::kBeside});
  ::close(memory);
  machine->start(kFeatures);
  for (std::uint16_t slot = 0; slot < 4; ++slot) offer(slot, kIn, slot * 29u, 0x2000);
  machine->kick();
  EXPECT_EQ(machine->ring.used_index(), 4);
  for (std::uint16_t slot = 0; slot < 4; ++slot) {
    EXPECT_EQ(answer(slot), kOk);
    EXPECT_EQ(machine->guest.bytes(data(slot), 0x2000), sectors(slot * 29u, 0x2000));
  }
}

// What was taken is in memory and in the rings when the state is.
TEST_F(VirtioBlkBesideTest, ADiskThatIsSavedFinishesWhatItHasTaken) {
  machine->start(kFeatureVersion1 | kFeatureRingIndirect);  // each write is synced, too
  for (std::uint16_t slot = 0; slot < kSlots; ++slot) {
    offer(slot, slot % 2 == 0 ? kIn : kOut, slot * 29u, 0x1000);
  }
  machine->kick();
  StateWriter to;
  ASSERT_TRUE(machine->slot.save(to).ok());
  EXPECT_EQ(machine->ring.used_index(), kSlots);
  for (std::uint16_t slot = 0; slot < kSlots; ++slot) EXPECT_EQ(answer(slot), kOk);
  EXPECT_EQ(machine->guest.bytes(data(2), 0x1000), sectors(2 * 29u, 0x1000));

  // The same guest, with another disk: from here on it serves.
  const std::vector<std::byte> state = std::move(to).take();
  const std::vector<std::byte> memory = machine->guest.bytes(kRamBase, kRamBytes);
  const std::uint16_t offered = kSlots;
  make(1);
  machine->guest.put_bytes(kRamBase, memory);
  machine->ring.set_available_index(offered);
  StateReader from(state);
  const absl::Status loaded = machine->slot.load(from);
  ASSERT_TRUE(loaded.ok()) << loaded;
  offer(0, kIn, 7, 512);
  machine->kick();
  wait_for(kSlots + 1);
  EXPECT_EQ(machine->guest.bytes(data(0), 512), sectors(7, 512));
}

// More than can be under way at a time, and nobody notifies again.
TEST_F(VirtioBlkBesideTest, WhatASavedDiskHadNoPlaceForIsTakenLater) {
  constexpr std::uint16_t kOffered = 24;  // a queue of so many has 16 places
  constexpr std::uint64_t kLargeRing = kRamBase + 0xc'0000;
  for (int round = 0; round < 4 && !HasFailure(); ++round) {
    make(kMaxBlkQueues);
    DriverRing ring(machine->guest, kLargeRing, 32);
    machine->start_with(ring.config(), kFeatures);
    for (std::uint16_t slot = 0; slot < kOffered; ++slot) {
      offer(ring, slot, kIn, slot, 512, data(slot));
    }
    machine->kick();
    StateWriter to;
    ASSERT_TRUE(machine->slot.save(to).ok());
    const std::vector<std::byte> state = std::move(to).take();
    const std::vector<std::byte> memory = machine->guest.bytes(kRamBase, kRamBytes);
    make(kMaxBlkQueues);
    const DriverRing again(machine->guest, kLargeRing, 32);
    machine->guest.put_bytes(kRamBase, memory);
    StateReader from(state);
    const absl::Status loaded = machine->slot.load(from);
    ASSERT_TRUE(loaded.ok()) << loaded;
    wait_for(again, kOffered);
  }
}

TEST_F(VirtioBlkBesideTest, WritesReachTheFileAndFlushesAreAnswered) {
  for (std::uint16_t slot = 0; slot < kSlots - 1; ++slot) {
    machine->guest.put_bytes(data(slot), noise(0x2000, slot));
    offer(slot, kOut, slot * 16u, 0x2000);
  }
  machine->kick();
  wait_for(kSlots - 1);
  expect_served(kSlots - 1, kFlush, 0, 0, kOk);
  const std::vector<std::byte> found = vm_test::file_bytes(file.path());
  ASSERT_EQ(found.size(), content.size());
  for (std::uint16_t slot = 0; slot < kSlots - 1; ++slot) {
    EXPECT_EQ(answer(slot), kOk);
    const std::vector<std::byte> wanted = noise(0x2000, slot);
    EXPECT_TRUE(std::equal(wanted.begin(), wanted.end(), found.begin() + slot * 0x2000)) << slot;
  }
}

TEST_F(VirtioBlkBesideTest, ADriverThatDoesNotFlushIsAnsweredToo) {
  machine->start(kFeatureVersion1 | kFeatureRingIndirect);
  machine->guest.put_bytes(data(0), noise(1024, 9));
  expect_served(0, kOut, 8, 1024, kOk);
  EXPECT_EQ(machine->ring.used_entry(0).written, 1u);
  expect_served(1, kIn, 8, 1024, kOk);
  EXPECT_EQ(machine->guest.bytes(data(1), 1024), noise(1024, 9));
}

TEST_F(VirtioBlkBesideTest, BadRequestsAreAnsweredAndTheNextIsServed) {
  offer(machine->ring, 0, kIn, 0, 1024, kRamEnd - 512);
  machine->kick();
  wait_for(1);
  EXPECT_EQ(answer(0), kIoErr);
  EXPECT_EQ(machine->ring.used_entry(0).written, 512u);
  offer(machine->ring, 1, kOut, 0, 1024, 0x100);
  machine->kick();
  wait_for(2);
  EXPECT_EQ(answer(1), kIoErr);
  expect_served(2, kIn, kSectors, 512, kIoErr);
  expect_served(3, 77, 0, 512, 2);
  expect_served(4, kIn, 1, 512, kOk);
  EXPECT_EQ(machine->guest.bytes(data(4), 512), sectors(1, 512));
}

TEST_F(VirtioBlkBesideTest, AFileThatHasShrunkIsAnErrorAndStaysShort) {
  file.resize(64 * 512);
  expect_served(0, kIn, 63, 1024, kIoErr);
  expect_served(1, kOut, 100, 512, kIoErr);
  EXPECT_EQ(std::filesystem::file_size(file.path()), 64u * 512);
  expect_served(2, kIn, 63, 512, kOk);
}

TEST_F(VirtioBlkBesideTest, AResetWaitsForWhatIsInFlightAndForgetsIt) {
  hold_a_read();
  std::atomic<bool> opened{false};
  std::thread driver([&] {
    machine->set_reg(0x70, 0);
    EXPECT_TRUE(opened.load());
    EXPECT_EQ(device.written.load(), 512u);
  });
  opened = true;
  device.gate.open();
  driver.join();
  machine->start(kFeatures);
  expect_served(1, kIn, 2, 512, kOk);
  EXPECT_EQ(answer(1), kOk);
  EXPECT_EQ(machine->ring.used_entry(0).id, 1u);
}

TEST_F(VirtioBlkBesideTest, AQueueIsTakenBackWithItsRequests) {
  machine->start(kFeatures | kFeatureRingReset);
  hold_a_read();
  std::atomic<bool> opened{false};
  std::thread driver([&] {
    machine->set_reg(0x30, 0);
    machine->set_reg(0xc0, 1);
    EXPECT_TRUE(opened.load());
    EXPECT_EQ(device.written.load(), 512u);
  });
  opened = true;
  device.gate.open();
  driver.join();
  // Answered before it was taken back, or never.
  if (machine->ring.used_index() == 0) {
    EXPECT_EQ(answer(0), static_cast<int>(BlkMachine::kUntouched));
  }
  machine->ring.clear();
  machine->set_up_queue(machine->ring.config());
  expect_served(1, kIn, 2, 512, kOk);
}

TEST_F(VirtioBlkBesideTest, TheEndWaitsForWhatIsInFlight) {
  hold_a_read();
  for (std::uint16_t slot = 1; slot < kSlots; ++slot) offer(slot, kIn, slot, 512);
  machine->kick();
  std::thread opener([&] { device.gate.open(); });
  machine.reset();
  opener.join();
  EXPECT_EQ(device.written.load(), 512u);
}

TEST_F(VirtioBlkBesideTest, QueuesAreServedSideBySide) {
  make(2);
  DriverRing second(machine->guest, kRamBase + 0x8000, kSlots);
  machine->start(kFeatures | kFeatureMq);
  machine->set_up_queue(second.config(), 1);
  const auto drive = [&](DriverRing& ring, std::uint32_t queue) {
    for (std::uint16_t round = 0; round < 20; ++round) {
      const auto first = static_cast<std::uint16_t>(queue * 8);
      for (std::uint16_t slot = first; slot < first + 8; ++slot) {
        offer(ring, slot, kIn, slot * 13u + round, 1024, data(slot));
      }
      machine->kick(queue);
      wait_for(ring, static_cast<std::uint16_t>((round + 1) * 8));
      for (std::uint16_t slot = first; slot < first + 8; ++slot) {
        EXPECT_EQ(machine->guest.bytes(data(slot), 1024), sectors(slot * 13u + round, 1024));
      }
    }
  };
  std::thread other([&] { drive(second, 1); });
  drive(machine->ring, 0);
  other.join();
}

TEST_F(VirtioBlkBesideTest, AnImageWithoutAFileIsServedAtOnce) {
  machine = std::make_unique<BlkMachine>(std::make_unique<MemoryImage>(kSectors),
                                         VirtioBlkOptions{.service = BlkService::kBeside});
  machine->start(kFeatures);
  offer(0, kOut, 3, 512);
  offer(1, kIn, 3, 512);
  offer(2, kFlush, 0, 0);
  machine->kick();
  EXPECT_EQ(machine->ring.used_index(), 3u);
  for (std::uint16_t slot = 0; slot < 3; ++slot) EXPECT_EQ(answer(slot), kOk);
}

}  // namespace
}  // namespace vm_device
