// What a block device offers beside reading and writing: discard, write-zeroes, several
// queues, a cache that can be turned off, another size, the description of its blocks.

#include <gtest/gtest.h>

#include <atomic>
#include <span>
#include <thread>

#include "tests/support/bytes.h"
#include "tests/vm_device/blk_machine.h"

namespace vm_device {
namespace {

constexpr std::size_t kSectors = 1 << 14;

constexpr std::uint64_t kAll = kFeatureVersion1 | kFeatureRingIndirect | kFeatureFlush |
                               kFeatureConfigWce | kFeatureDiscard | kFeatureWriteZeroes;

constexpr std::uint64_t kConfig = kSlot + 0x100;

struct Range {
  std::uint64_t sector = 0;
  std::uint32_t sectors = 0;
  std::uint32_t flags = 0;
};

class VirtioBlkFeaturesTest : public testing::Test {
 protected:
  explicit VirtioBlkFeaturesTest(VirtioBlkOptions options = {},
                                 ImageAccess access = ImageAccess::kReadWrite)
      : image(new MemoryImage(kSectors, access)),
        machine(std::unique_ptr<BlockImage>(image), std::move(options)) {
    machine.start(kAll & offered());
  }
  std::uint64_t offered() const { return machine.reg(0x10) | kFeatureVersion1; }

  // The ranges lie behind each other in the data; `bytes` of them are in the chain.
  int change(std::uint32_t type, std::initializer_list<Range> ranges, std::uint32_t bytes) {
    std::uint64_t at = BlkMachine::kData;
    for (const Range& it : ranges) {
      machine.guest.put(at, it.sector);
      machine.guest.put(at + 8, it.sectors);
      machine.guest.put(at + 12, it.flags);
      at += 16;
    }
    machine.put_header(type, 0);
    machine.guest.put(BlkMachine::kStatus, BlkMachine::kUntouched);
    machine.ring.offer_chain(
        {BlkMachine::header(), BlkMachine::data(bytes, 0), BlkMachine::status()});
    machine.kick();
    EXPECT_FALSE(machine.needs_reset());
    return machine.status_byte();
  }
  int change(std::uint32_t type, std::initializer_list<Range> ranges) {
    return change(type, ranges, static_cast<std::uint32_t>(16 * ranges.size()));
  }

  bool all(std::size_t first, std::size_t count, int value) const {
    const std::span<const std::byte> content(image->content);
    return vm_test::all_are(content.subspan(first * 512, count * 512),
                            static_cast<std::byte>(value));
  }
  template <typename T>
  T config(std::uint64_t offset) const {
    return machine.guest.get<T>(kConfig + offset);
  }

  MemoryImage* image;  // owned by machine
  BlkMachine machine;
};

TEST_F(VirtioBlkFeaturesTest, TheConfigurationDescribesTheDisk) {
  EXPECT_EQ(config<std::uint64_t>(0), kSectors);
  EXPECT_EQ(config<std::uint32_t>(8), 0u);     // size_max: none
  EXPECT_EQ(config<std::uint32_t>(12), 254u);  // seg_max
  EXPECT_EQ(config<std::uint32_t>(20), 512u);  // blk_size
  EXPECT_EQ(config<std::uint8_t>(24), 3);      // physical_block_exp: 4096
  EXPECT_EQ(config<std::uint16_t>(26), 8);     // min_io_size
  EXPECT_EQ(config<std::uint8_t>(32), 1);      // writeback
  EXPECT_EQ(config<std::uint16_t>(34), 1);     // num_queues
  EXPECT_EQ(config<std::uint32_t>(36), 1u << 22);
  EXPECT_EQ(config<std::uint32_t>(40), 64u);
  EXPECT_EQ(config<std::uint32_t>(44), 8u);  // discard_sector_alignment
  EXPECT_EQ(config<std::uint32_t>(48), 1u << 19);
  EXPECT_EQ(config<std::uint32_t>(52), 16u);
  EXPECT_EQ(config<std::uint8_t>(56), 1);
  EXPECT_EQ(config<std::uint64_t>(60), 0u);
}

TEST_F(VirtioBlkFeaturesTest, DiscardForgetsItsRangesAndNothingElse) {
  const auto before = image->content;
  EXPECT_EQ(change(kDiscard, {{8, 16, 0}, {kSectors - 1, 1, 0}, {100, 0, 0}}), kOk);
  EXPECT_EQ(machine.ring.used_entry(0).written, 1u);
  EXPECT_TRUE(all(8, 16, MemoryImage::kForgotten));
  EXPECT_TRUE(all(kSectors - 1, 1, MemoryImage::kForgotten));
  EXPECT_TRUE(
      std::equal(before.begin() + 24 * 512, before.end() - 512, image->content.begin() + 24 * 512));
  EXPECT_TRUE(std::equal(before.begin(), before.begin() + 8 * 512, image->content.begin()));
}

TEST_F(VirtioBlkFeaturesTest, WriteZeroesZeroesWithAndWithoutUnmap) {
  const auto before = image->content;
  EXPECT_EQ(change(kWriteZeroes, {{3, 300, 0}, {1000, 2, 1}}), kOk);
  EXPECT_TRUE(all(3, 300, 0));
  EXPECT_TRUE(all(1000, 2, 0));
  EXPECT_TRUE(std::equal(before.begin(), before.begin() + 3 * 512, image->content.begin()));
  EXPECT_TRUE(std::equal(before.begin() + 303 * 512, before.begin() + 1000 * 512,
                         image->content.begin() + 303 * 512));
}

TEST_F(VirtioBlkFeaturesTest, UnknownFlagsAreUnsupportedAndNothingIsTouched) {
  const auto before = image->content;
  EXPECT_EQ(change(kDiscard, {{0, 1, 0}, {8, 1, 1}}), kUnsupp);  // unmap belongs to zeroes
  for (std::uint32_t flag = 2; flag != 0; flag <<= 1) {
    EXPECT_EQ(change(kDiscard, {{0, 1, flag}}), kUnsupp);
    EXPECT_EQ(change(kWriteZeroes, {{0, 1, 0}, {8, 1, flag | 1}}), kUnsupp);
  }
  EXPECT_EQ(image->content, before);
}

TEST_F(VirtioBlkFeaturesTest, AnUnknownFlagBehindABadRangeIsUnsupported) {
  const auto before = image->content;
  EXPECT_EQ(change(kDiscard, {{kSectors, 1, 0}, {0, 1, 1}}), kUnsupp);
  EXPECT_EQ(change(kWriteZeroes, {{0, UINT32_MAX, 0}, {0, 1, 1}, {0, 1, 2}}), kUnsupp);
  EXPECT_EQ(change(kWriteZeroes, {{0, UINT32_MAX, 0}, {0, 1, 1}}), kIoErr);
  EXPECT_EQ(image->content, before);
}

TEST_F(VirtioBlkFeaturesTest, RangesOutsideTheDiskAreIoErrorsAndNothingIsTouched) {
  const auto before = image->content;
  for (const Range& bad : {Range{kSectors, 1}, Range{kSectors - 1, 2}, Range{UINT64_MAX, 1},
                           Range{UINT64_MAX / 512, 2}, Range{kSectors + 1, 0}, Range{0, UINT32_MAX},
                           Range{1, kSectors}}) {
    for (const std::uint32_t type : {kDiscard, kWriteZeroes}) {
      EXPECT_EQ(change(type, {{0, 8, 0}, bad}), kIoErr) << bad.sector << " " << bad.sectors;
    }
  }
  EXPECT_EQ(image->content, before);
}

TEST_F(VirtioBlkFeaturesTest, RangesThatAreNoWholeOnesAreIoErrors) {
  const auto before = image->content;
  for (const std::uint32_t type : {kDiscard, kWriteZeroes}) {
    for (const std::uint32_t bytes : {0u, 1u, 15u, 17u, 31u, 65u * 16u}) {
      EXPECT_EQ(change(type, {{0, 1, 0}, {1, 1, 0}}, bytes), kIoErr) << bytes;
    }
  }
  EXPECT_EQ(change(kWriteZeroes, {{0, 1, 0}}, 17 * 16), kIoErr);
  EXPECT_EQ(image->content, before);
}

TEST_F(VirtioBlkFeaturesTest, TheMostRangesFitAndMoreSectorsThanSaidDoNot) {
  for (std::uint64_t i = 0; i < 64; ++i) {
    machine.guest.put(BlkMachine::kData + 16 * i, 10 * i);
    machine.guest.put(BlkMachine::kData + 16 * i + 8, std::uint64_t{1});
  }
  EXPECT_EQ(change(kDiscard, {}, 64 * 16), kOk);
  EXPECT_TRUE(all(630, 1, MemoryImage::kForgotten));
  EXPECT_FALSE(all(629, 1, MemoryImage::kForgotten));
  image->resize((1 << 19) + 8);
  EXPECT_EQ(change(kWriteZeroes, {{0, (1 << 19) + 1, 0}}), kIoErr);
  EXPECT_EQ(change(kWriteZeroes, {{8, 1 << 19, 0}}), kOk);
  EXPECT_TRUE(all(8, 1 << 19, 0));
}

TEST_F(VirtioBlkFeaturesTest, RangesOutsideRamAreIoErrors) {
  machine.put_header(kWriteZeroes, 0);
  machine.ring.offer_chain({BlkMachine::header(), {kRamEnd - 8, 16, 0, 0}, BlkMachine::status()});
  machine.kick();
  EXPECT_EQ(machine.status_byte(), kIoErr);
}

TEST_F(VirtioBlkFeaturesTest, WithoutTheFeatureTheRequestIsUnsupported) {
  machine.start(kFeatureVersion1);
  EXPECT_EQ(change(kDiscard, {{0, 1, 0}}), kUnsupp);
  EXPECT_EQ(change(kWriteZeroes, {{0, 1, 0}}), kUnsupp);
}

TEST_F(VirtioBlkFeaturesTest, AnImagesErrorIsAnIoError) {
  image->failure = ENOSPC;
  EXPECT_EQ(change(kDiscard, {{0, 1, 0}}), kIoErr);
  EXPECT_EQ(change(kWriteZeroes, {{0, 1, 0}}), kIoErr);
  image->failure = 0;
  EXPECT_EQ(change(kWriteZeroes, {{0, 1, 0}}), kOk);
}

TEST_F(VirtioBlkFeaturesTest, WithTheCacheOffChangesAreStableWhenTheyComplete) {
  machine.request(kOut, 0, 512);
  EXPECT_EQ(image->flushes, 0);
  machine.guest.put(kConfig + 32, std::uint8_t{0});
  EXPECT_EQ(image->flushes, 1);  // what was in the cache
  EXPECT_EQ(config<std::uint8_t>(32), 0);
  machine.request(kOut, 0, 512);
  EXPECT_EQ(image->flushes, 2);
  EXPECT_EQ(change(kWriteZeroes, {{0, 1, 0}}), kOk);
  EXPECT_EQ(image->flushes, 3);
  machine.request(kIn, 0, 512);
  EXPECT_EQ(image->flushes, 3);
  machine.guest.put(kConfig + 32, std::uint8_t{1});
  machine.request(kOut, 0, 512);
  EXPECT_EQ(image->flushes, 3);
}

TEST_F(VirtioBlkFeaturesTest, ACacheThatCannotBeFlushedStaysOn) {
  machine.request(kOut, 0, 512);
  image->failure = EIO;
  machine.guest.put(kConfig + 32, std::uint8_t{0});
  EXPECT_EQ(image->flushes, 1);
  EXPECT_EQ(config<std::uint8_t>(32), 1);
  image->failure = 0;
  machine.guest.put(kConfig + 32, std::uint8_t{0});
  EXPECT_EQ(image->flushes, 2);
  EXPECT_EQ(config<std::uint8_t>(32), 0);
}

TEST_F(VirtioBlkFeaturesTest, AFlushIsServedWhateverWasAccepted) {
  machine.start(kFeatureVersion1);
  machine.request(kFlush, 0, 0);
  EXPECT_EQ(machine.status_byte(), kOk);
  EXPECT_EQ(image->flushes, 1);
}

TEST_F(VirtioBlkFeaturesTest, TheCacheIsNotTurnedOffByWhoDidNotAgreeOnIt) {
  machine.start(kFeatureVersion1 | kFeatureFlush);
  machine.guest.put(kConfig + 32, std::uint8_t{0});
  EXPECT_EQ(config<std::uint8_t>(32), 1);
  machine.start(kFeatureVersion1 | kFeatureConfigWce);
  EXPECT_EQ(config<std::uint8_t>(32), 0);  // no flush feature, no cache
}

TEST_F(VirtioBlkFeaturesTest, AnotherSizeIsToldAndHeldTo) {
  const std::uint32_t generation = machine.reg(0xfc);
  image->resize(kSectors + 8);
  EXPECT_TRUE(machine.config_interrupt());
  EXPECT_NE(machine.reg(0xfc), generation);
  EXPECT_EQ(config<std::uint64_t>(0), kSectors + 8);
  machine.request(kIn, kSectors + 7, 512);
  EXPECT_EQ(machine.status_byte(), kOk);
  image->resize(16);
  EXPECT_EQ(config<std::uint64_t>(0), 16u);
  machine.request(kIn, 16, 512);
  EXPECT_EQ(machine.status_byte(), kIoErr);
  machine.request(kOut, 15, 1024);
  EXPECT_EQ(machine.status_byte(), kIoErr);
  EXPECT_EQ(change(kWriteZeroes, {{15, 2, 0}}), kIoErr);
  machine.request(kIn, 15, 512);
  EXPECT_EQ(machine.status_byte(), kOk);
}

TEST_F(VirtioBlkFeaturesTest, ASizeThatChangesBeforeTheDriverIsReadyDoesNotInterrupt) {
  machine.set_reg(0x70, 0);
  const std::uint32_t generation = machine.reg(0xfc);
  image->resize(32);
  EXPECT_EQ(config<std::uint64_t>(0), 32u);
  EXPECT_NE(machine.reg(0xfc), generation);
  EXPECT_FALSE(machine.config_interrupt());
}

class ReadOnlyFeaturesTest : public VirtioBlkFeaturesTest {
 protected:
  ReadOnlyFeaturesTest() : VirtioBlkFeaturesTest({}, ImageAccess::kReadOnly) {}
};

TEST_F(ReadOnlyFeaturesTest, NothingThatChangesTheDiskIsOffered) {
  EXPECT_EQ(offered() & (kFeatureDiscard | kFeatureWriteZeroes), 0u);
  const auto before = image->content;
  EXPECT_EQ(change(kDiscard, {{0, 1, 0}}), kUnsupp);
  EXPECT_EQ(change(kWriteZeroes, {{0, 1, 0}}), kUnsupp);
  EXPECT_EQ(image->content, before);
}

class QueuesTest : public VirtioBlkFeaturesTest {
 protected:
  QueuesTest() : VirtioBlkFeaturesTest({.num_queues = 4, .block_bytes = 4096}) {
    for (std::uint64_t i = 0; i < 4; ++i) {
      rings.emplace_back(machine.guest, kRamBase + 0x4'0000 + 0x8000 * i, 16);
    }
    machine.start(kAll | kFeatureMq);
    for (std::uint32_t i = 1; i < 4; ++i) machine.set_up_queue(rings[i].config(), i);
  }
  // Each queue has its own header and status.
  void offer(std::uint32_t queue, std::uint64_t sector) {
    const std::uint64_t at = BlkMachine::kData + 4096 * queue;
    machine.guest.put(at, std::uint64_t{0});
    machine.guest.put(at + 8, sector);
    machine.guest.put(at + 1024, BlkMachine::kUntouched);
    rings[queue].offer_chain(
        {{at, 16, 0, 0}, {at + 512, 512, kWrite, 0}, {at + 1024, 1, kWrite, 0}});
  }
  bool is_served(std::uint32_t queue, std::uint64_t sector) const {
    const std::uint64_t at = BlkMachine::kData + 4096 * queue;
    return machine.guest.get<std::uint8_t>(at + 1024) == 0 &&
           std::memcmp(machine.guest.bytes(at + 512, 512).data(), &image->content[512 * sector],
                       512) == 0;
  }

  std::vector<DriverRing> rings;
};

TEST_F(QueuesTest, EveryQueueIsServedWhenItIsNotified) {
  EXPECT_NE(offered() & kFeatureMq, 0u);
  EXPECT_EQ(config<std::uint16_t>(34), 4);
  EXPECT_EQ(config<std::uint32_t>(20), 4096u);
  EXPECT_EQ(config<std::uint8_t>(24), 0);
  for (const std::uint32_t queue : {3u, 1u, 2u}) {
    offer(queue, 5 + queue);
    EXPECT_FALSE(is_served(queue, 5 + queue));
    machine.kick(queue);
    EXPECT_TRUE(is_served(queue, 5 + queue)) << queue;
    EXPECT_EQ(rings[queue].used_index(), 1);
  }
}

TEST_F(QueuesTest, AnErrorStopsItsQueueAlone) {
  rings[1].offer(99);
  machine.kick(1);
  EXPECT_TRUE(machine.needs_reset());
  EXPECT_EQ(machine.slot.queue_error(1), VirtqueueError::kHeadOutOfRange);
  offer(2, 9);
  machine.kick(2);
  EXPECT_TRUE(is_served(2, 9));
  machine.kick(7);  // there is no such queue
  machine.start(kAll | kFeatureMq);
  rings[1].clear();
  machine.set_up_queue(rings[1].config(), 1);
  offer(1, 7);
  machine.kick(1);
  EXPECT_TRUE(is_served(1, 7));
}

TEST_F(QueuesTest, WhatASizeHasBeyondItsLastWholeBlockIsNoDisk) {
  image->resize(16 + 7);
  EXPECT_EQ(config<std::uint64_t>(0), 16u);
  machine.request(kIn, 15, 512);
  EXPECT_EQ(machine.status_byte(), kOk);
  machine.request(kIn, 16, 512);
  EXPECT_EQ(machine.status_byte(), kIoErr);
  image->resize(7);
  EXPECT_EQ(config<std::uint64_t>(0), 0u);
}

TEST(VirtioBlkResizeTest, ASizeThatChangesBeforeTheDeviceIsConnectedIsTold) {
  Guest guest;
  RecordingLine line;
  auto owned = std::make_unique<MemoryImage>(16);
  MemoryImage& image = *owned;
  auto device = VirtioBlk::create(std::move(owned)).value();
  image.resize(32);
  VirtioMmio slot(*guest.memory, std::move(device), line);
  std::uint64_t capacity = 0;
  slot.mmio_read(0x100, 4, capacity);
  EXPECT_EQ(capacity, 32u);
}

TEST(VirtioBlkOptionsTest, WhatCannotBeIsRefused) {
  const auto code = [](VirtioBlkOptions options) {
    return VirtioBlk::create(std::make_unique<MemoryImage>(9), std::move(options)).status().code();
  };
  EXPECT_EQ(code({}), absl::StatusCode::kOk);
  EXPECT_EQ(code({.num_queues = kMaxBlkQueues}), absl::StatusCode::kOk);
  EXPECT_EQ(code({.num_queues = 0}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({.num_queues = kMaxBlkQueues + 1}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({.block_bytes = 256}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({.block_bytes = 1536}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({.block_bytes = 1024}), absl::StatusCode::kInvalidArgument);  // 9 sectors
  EXPECT_EQ(code({.physical_block_bytes = 1 << 17}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(VirtioBlk::create(std::make_unique<MemoryImage>(16),
                              {.block_bytes = 4096, .physical_block_bytes = 512})
                .status()
                .code(),
            absl::StatusCode::kInvalidArgument);
}

// A driver that reads both halves of the capacity between two equal generations has one
// size, never half of each.
TEST(VirtioBlkResizeTest, TheCapacityIsNeverReadHalf) {
  class Sized final : public BlockImage {
   public:
    std::uint64_t bytes() const override { return sectors_.load() * kSectorBytes; }
    ImageAccess access() const override { return ImageAccess::kReadOnly; }
    int read_at(std::uint64_t, std::span<std::byte>) override { return EIO; }
    int write_at(std::uint64_t, std::span<const std::byte>) override { return EIO; }
    int flush() override { return 0; }
    void set(std::uint64_t sectors) {
      sectors_ = sectors;
      announce_resize();
    }

   private:
    std::atomic<std::uint64_t> sectors_{0x0000'0001'0000'0002};
  };
  constexpr std::uint64_t kSizes[] = {0x0000'0001'0000'0002, 0x0000'0003'0000'0004};
  auto owned = std::make_unique<Sized>();
  Sized& image = *owned;
  BlkMachine machine(std::move(owned));
  machine.start(kFeatureVersion1);
  std::atomic<bool> stop{false};
  std::thread host([&] {
    for (std::size_t i = 0; !stop.load(); ++i) image.set(kSizes[i % 2]);
  });
  for (int agreed = 0; agreed < 200;) {
    const std::uint32_t before = machine.reg(0xfc);
    const std::uint64_t low = machine.guest.get<std::uint32_t>(kConfig);
    const std::uint64_t high = machine.guest.get<std::uint32_t>(kConfig + 4);
    if (machine.reg(0xfc) != before) continue;
    ++agreed;
    const std::uint64_t read = high << 32 | low;
    EXPECT_TRUE(read == kSizes[0] || read == kSizes[1]) << std::hex << read;
  }
  stop = true;
  host.join();
}

}  // namespace
}  // namespace vm_device
