// How a virtqueue reads the rings, and what it orders.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <random>
#include <thread>

#include "absl/cleanup/cleanup.h"
#include "tests/vm_device/ring_driver.h"
#include "vm_device/virtio_features.h"
#include "vm_device/virtqueue.h"
#include "vm_mem/memory_reader.h"

namespace vm_device {
namespace {

constexpr std::uint16_t kSize = 8;
constexpr std::uint64_t kBuffer = kRamBase + 0x1'0000;

class VirtqueueMemoryTest : public testing::Test {
 protected:
  VirtqueueMemoryTest() : dma(*guest.memory), queue(dma, 256), ring(guest, kRamBase, kSize) {}

  Guest guest;
  DmaSpace dma;
  Virtqueue queue;
  DriverRing ring;
  DescriptorChain chain;
};

// Rings in a device that counts how often each byte is read, and answers with nonsense
// from the second time on.
class ReadOnceMemory final : public vm_mem::MmioHandler {
 public:
  vm_mem::AccessFault mmio_read(std::uint64_t offset, unsigned size,
                                std::uint64_t& value) override {
    value = 0;
    for (unsigned i = 0; i < size; ++i) {
      const std::uint64_t byte = ++reads[offset + i] == 1 ? bytes[offset + i] : 0xff;
      value |= byte << (8 * i);
    }
    return vm_mem::AccessFault::kNone;
  }
  vm_mem::AccessFault mmio_write(std::uint64_t offset, unsigned size,
                                 std::uint64_t value) override {
    for (unsigned i = 0; i < size; ++i)
      bytes[offset + i] = static_cast<std::uint8_t>(value >> 8 * i);
    return vm_mem::AccessFault::kNone;
  }

  std::array<std::uint8_t, 0x8000> bytes{};
  std::array<int, 0x8000> reads{};
};

class ReadOnceTest : public VirtqueueMemoryTest {
 protected:
  static constexpr std::uint64_t kBase = 0x1000'0000;

  ReadOnceTest() : counted(guest, kBase, add(guest, rings)) {
    EXPECT_EQ(queue.enable(counted.config(kFeatureRingIndirect)), VirtqueueError::kNone);
    rings.reads.fill(0);
  }
  static std::uint16_t add(Guest& guest, ReadOnceMemory& rings) {
    EXPECT_TRUE(guest.memory->add_mmio(guest_range(kBase, 0x8000), &rings).ok());
    return kSize;
  }
  int most_reads() const { return *std::max_element(rings.reads.begin(), rings.reads.end()); }

  ReadOnceMemory rings;
  DriverRing counted;
};

TEST_F(ReadOnceTest, EveryFieldOfARequestIsReadOnce) {
  counted.write_chain(kBase + 0x3000, {{kBuffer, 8, 0, 0}, {kBuffer, 16, kWrite, 0}});
  counted.offer_chain({{kBuffer, 4, 0, 0}, {kBase + 0x3000, 32, kIndirect, 0}});
  ASSERT_EQ(queue.pop(chain), PopStatus::kChain);
  EXPECT_EQ(chain.readable_bytes(), 12u);
  EXPECT_EQ(chain.writable_bytes(), 16u);
  EXPECT_EQ(most_reads(), 1);
}

TEST_F(ReadOnceTest, EveryFieldOfAPackedRequestIsReadOnce) {
  ASSERT_EQ(queue.enable(counted.config(kFeatureRingPacked)), VirtqueueError::kNone);
  for (std::uint16_t i = 0; i < 3; ++i) {
    const std::uint64_t at = kBase + 16 * i;
    guest.put(at, kBuffer);
    guest.put(at + 8, std::uint32_t{16});
    guest.put(at + 12, i);
    guest.put(at + 14, static_cast<std::uint16_t>((i < 2 ? kNext : kWrite) | 0x80));
  }
  rings.reads.fill(0);
  ASSERT_EQ(queue.pop(chain), PopStatus::kChain);
  EXPECT_EQ(chain.readable_bytes(), 32u);
  EXPECT_EQ(chain.writable_bytes(), 16u);
  EXPECT_EQ(chain.head(), 2);
  EXPECT_EQ(most_reads(), 1);
}

TEST_F(ReadOnceTest, ALoopIsLeftAfterAsManyStepsAsTheQueueHasDescriptors) {
  for (std::uint64_t i = 0; i < kSize; ++i) {
    counted.describe(static_cast<std::uint16_t>(i),
                     {kBuffer, 4, kNext, static_cast<std::uint16_t>((i + 1) % kSize)});
  }
  counted.offer(0);
  EXPECT_EQ(queue.pop(chain), PopStatus::kError);
  EXPECT_EQ(queue.error(), VirtqueueError::kLoop);
  EXPECT_EQ(most_reads(), 1);
}

// The driver on its own thread: each request's buffer holds its number when the
// device takes it, and the answer is there when the driver sees the used index.
TEST_F(VirtqueueMemoryTest, RequestsAndAnswersCrossThreadsWhole) {
  ASSERT_EQ(queue.enable(ring.config()), VirtqueueError::kNone);
  constexpr std::uint32_t kRequests = 5'000;
  std::atomic<bool> driver_gone = false, device_gone = false;
  std::thread driver([&] {
    const absl::Cleanup leave = [&] { driver_gone = true; };
    for (std::uint32_t i = 0; i < kRequests; ++i) {
      const std::uint64_t buffer = kBuffer + 64 * (i % kSize);
      guest.put(buffer, i);
      const auto slot = static_cast<std::uint16_t>(i % kSize);
      ring.describe(slot, {buffer, 4, kNext, static_cast<std::uint16_t>((slot + 1) % kSize)});
      ring.describe(static_cast<std::uint16_t>((slot + 1) % kSize), {buffer + 8, 4, kWrite, 0});
      guest.put(ring.available() + 4 + 2 * std::uint64_t{slot}, slot);
      guest.memory->store(vm_mem::GuestAddress{ring.available() + 2},
                          static_cast<std::uint16_t>(i + 1), std::memory_order_release);
      std::uint16_t used = 0;
      while (used != static_cast<std::uint16_t>(i + 1)) {
        ASSERT_FALSE(device_gone) << i;
        std::this_thread::yield();
        guest.memory->load(vm_mem::GuestAddress{ring.used() + 2}, used, std::memory_order_acquire);
      }
      ASSERT_EQ(guest.get<std::uint32_t>(buffer + 8), ~i);
      ASSERT_EQ(ring.used_entry(slot), (UsedEntry{slot, i}));
    }
  });
  for (std::uint32_t i = 0; !driver_gone && queue.error() == VirtqueueError::kNone;) {
    if (queue.pop(chain) != PopStatus::kChain) {
      std::this_thread::yield();
      continue;
    }
    std::uint32_t value = 0;
    EXPECT_TRUE(dma.load(chain.readable()[0].address, value).ok());
    EXPECT_EQ(value, i);
    EXPECT_TRUE(dma.store(chain.writable()[0].address, ~value).ok());
    queue.push(chain, i++);
  }
  device_gone = true;
  driver.join();
}

// The same for a packed ring of one chain at a time, reached by host pointers.
TEST_F(VirtqueueMemoryTest, PackedRequestsAndAnswersCrossThreadsWhole) {
  vm_mem::MemoryReader reader(*guest.memory, vm_mem::Route::kDma);
  DmaSpace direct(reader);
  Virtqueue packed(direct, 256);
  VirtqueueConfig config = ring.config(kFeatureRingPacked);
  config.size = 5;
  ASSERT_EQ(packed.enable(config), VirtqueueError::kNone);
  constexpr std::uint32_t kRequests = 5'000;
  std::atomic<bool> driver_gone = false, device_gone = false;
  std::thread driver([&] {
    const absl::Cleanup leave = [&] { driver_gone = true; };
    for (std::uint32_t i = 0; i < kRequests; ++i) {
      const std::uint64_t at = kRamBase + 16 * (i % 5);
      const bool wrap = i / 5 % 2 == 0;
      guest.put(kBuffer, i);
      guest.put(at, kBuffer);
      guest.put(at + 8, std::uint32_t{4});
      guest.put(at + 12, static_cast<std::uint16_t>(i % 3));
      guest.memory->store(vm_mem::GuestAddress{at + 14},
                          static_cast<std::uint16_t>(kWrite | (wrap ? 0x80 : 0x8000)),
                          std::memory_order_release);
      std::uint16_t flags = 0;
      do {
        ASSERT_FALSE(device_gone) << i;
        std::this_thread::yield();
        guest.memory->load(vm_mem::GuestAddress{at + 14}, flags, std::memory_order_acquire);
      } while ((flags & 0x8080) != (wrap ? 0x8080 : 0));
      ASSERT_EQ(guest.get<std::uint32_t>(kBuffer), ~i);
      ASSERT_EQ(guest.get<std::uint32_t>(at + 8), i + 1);
      ASSERT_EQ(guest.get<std::uint16_t>(at + 12), i % 3);
    }
  });
  for (std::uint32_t i = 0; !driver_gone && packed.error() == VirtqueueError::kNone;) {
    if (packed.pop(chain) != PopStatus::kChain) {
      std::this_thread::yield();
      continue;
    }
    std::uint32_t value = 0;
    EXPECT_TRUE(direct.load(chain.writable()[0].address, value).ok());
    EXPECT_EQ(value, i);
    EXPECT_TRUE(direct.store(chain.writable()[0].address, ~value).ok());
    packed.push(chain, ++i);
  }
  device_gone = true;
  driver.join();
}

class RacingDriverTest : public testing::TestWithParam<std::uint64_t> {};

INSTANTIATE_TEST_SUITE_P(EachForm, RacingDriverTest,
                         testing::Values(std::uint64_t{0}, kFeatureRingPacked, kFeatureInOrder,
                                         kFeatureRingPacked | kFeatureInOrder));

// A second vCPU writes all over the rings, and the map changes, while the device works.
TEST_P(RacingDriverTest, WhateverChangesMeanwhileChainsHoldAndAResetMends) {
  Guest guest;
  vm_mem::MemoryReader reader(*guest.memory, vm_mem::Route::kDma);
  DmaSpace dma(reader);
  Virtqueue queue(dma, 256);
  RingDriver driver(guest, kRamBase, kSize, GetParam() | kFeatureRingIndirect);
  std::atomic<bool> done = false;
  std::thread vandal([&] {
    std::minstd_rand random(1);
    for (int i = 0; i < 20'000; ++i) {
      const std::uint64_t part = std::uint64_t{random() % 4 * 0x2000} + random() % 16 * 8;
      const std::uint64_t value = random() % 3 == 0 ? random() : (random() & 0x8083'0003) | 16;
      guest.put(kRamBase + part, value << (random() % 2 * 32));
      if (i % 256 == 0) {
        const auto id = guest.memory->add_ram(guest_range(kRamEnd + 0x10'0000, 0x1000));
        if (id.ok()) guest.memory->remove_region(*id, vm_mem::RemovePolicy::kRefuse).IgnoreError();
      }
    }
    done = true;
  });
  DescriptorChain chain;
  while (!done) {
    if (!queue.is_enabled() || queue.error() != VirtqueueError::kNone) {
      ASSERT_EQ(queue.enable(driver.config()), VirtqueueError::kNone);
    }
    if (queue.pop(chain) != PopStatus::kChain) continue;
    EXPECT_LT(chain.head(), kSize);
    EXPECT_LE(chain.readable().size() + chain.writable().size(), kMaxIndirectDescriptors + kSize);
    std::uint64_t sum = 0;
    for (const DmaSegment& it : chain.readable()) sum += it.bytes;
    ASSERT_EQ(sum, chain.readable_bytes());
    queue.push(chain, 1);
    queue.wants_interrupt();
  }
  vandal.join();
  driver.clear();
  ASSERT_EQ(queue.enable(driver.config()), VirtqueueError::kNone);
  const std::uint16_t id = driver.offer({{kBuffer, 16, kWrite, 0}});
  ASSERT_EQ(queue.pop(chain), PopStatus::kChain);
  queue.push(chain, 16);
  EXPECT_EQ(driver.take_used(), (UsedEntry{id, 16}));
}

}  // namespace
}  // namespace vm_device
