#include "vm_device/virtio_blk.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>
#include <numeric>

#include "tests/support/bytes.h"
#include "tests/vm_device/blk_machine.h"

namespace vm_device {
namespace {

using vm_test::noise;

constexpr std::size_t kSectors = 2048;

class VirtioBlkTest : public testing::Test {
 protected:
  explicit VirtioBlkTest(ImageAccess access = ImageAccess::kReadWrite)
      : image(new MemoryImage(kSectors, access)), machine(std::unique_ptr<BlockImage>(image)) {
    machine.start();
  }
  std::vector<std::byte> sectors(std::size_t first, std::size_t count) const {
    const auto begin = image->content.begin() + static_cast<std::ptrdiff_t>(first * kSectorBytes);
    return {begin, begin + static_cast<std::ptrdiff_t>(count * kSectorBytes)};
  }
  // The request of index `used_index - 1` was answered so.
  void expect_answer(int status, std::uint32_t written) {
    EXPECT_EQ(machine.status_byte(), status);
    ASSERT_GT(machine.ring.used_index(), 0);
    const auto slot = static_cast<std::uint16_t>((machine.ring.used_index() - 1) % 16);
    EXPECT_EQ(machine.ring.used_entry(slot).written, written);
    EXPECT_FALSE(machine.needs_reset());
  }

  MemoryImage* image;  // owned by machine
  BlkMachine machine;
};

TEST_F(VirtioBlkTest, ReadGivesTheSectors) {
  machine.request(kIn, 3, 2048);
  expect_answer(kOk, 2049);
  EXPECT_EQ(machine.guest.bytes(BlkMachine::kData, 2048), sectors(3, 4));
  EXPECT_EQ(machine.guest.get<std::uint8_t>(BlkMachine::kData + 2048), 0);
}

TEST_F(VirtioBlkTest, WriteStoresTheSectors) {
  const auto before = image->content;
  const auto data = noise(1024, 1);
  machine.guest.put_bytes(BlkMachine::kData, data);
  machine.request(kOut, 5, 1024);
  expect_answer(kOk, 1);
  EXPECT_EQ(sectors(5, 2), data);
  EXPECT_TRUE(std::equal(before.begin(), before.begin() + 5 * 512, image->content.begin()));
  EXPECT_TRUE(std::equal(before.begin() + 7 * 512, before.end(), image->content.begin() + 7 * 512));
}

TEST_F(VirtioBlkTest, RequestsLongerThanTheBounceBufferStayWhole) {
  constexpr std::uint32_t kBytes = 600 * 512;
  machine.request(kIn, 7, kBytes);
  expect_answer(kOk, kBytes + 1);
  EXPECT_EQ(machine.guest.bytes(BlkMachine::kData, kBytes), sectors(7, 600));
  const auto data = noise(kBytes, 2);
  machine.guest.put_bytes(BlkMachine::kData, data);
  machine.request(kOut, 1001, kBytes);
  expect_answer(kOk, 1);
  EXPECT_EQ(sectors(1001, 600), data);
}

TEST_F(VirtioBlkTest, TheLastSectorIsInReachAndTheNextIsNot) {
  machine.request(kIn, kSectors - 1, 512);
  expect_answer(kOk, 513);
  machine.request(kIn, kSectors, 512);
  expect_answer(kIoErr, 0);
  machine.request(kIn, kSectors - 1, 1024);
  expect_answer(kIoErr, 0);
  machine.request(kOut, kSectors, 512);
  expect_answer(kIoErr, 1);
  machine.request(kIn, UINT64_MAX, 512);
  expect_answer(kIoErr, 0);
  machine.request(kIn, UINT64_MAX / 512, 1024);
  expect_answer(kIoErr, 0);
}

TEST_F(VirtioBlkTest, PartsOfSectorsAreRefused) {
  machine.request(kIn, 0, 511);
  expect_answer(kIoErr, 0);
  machine.request(kOut, 0, 513);
  expect_answer(kIoErr, 1);
}

TEST_F(VirtioBlkTest, AnUnknownTypeIsUnsupported) {
  machine.request(77, 0, 512);
  expect_answer(kUnsupp, 0);
  machine.request(77, 0, 0);
  expect_answer(kUnsupp, 1);
}

TEST_F(VirtioBlkTest, FlushReachesTheImage) {
  machine.request(kFlush, 0, 0);
  expect_answer(kOk, 1);
  EXPECT_EQ(image->flushes, 1);
}

TEST_F(VirtioBlkTest, WithoutTheFlushFeatureWritesAreStableWhenTheyComplete) {
  machine.request(kOut, 0, 512);
  EXPECT_EQ(image->flushes, 0);
  machine.start(kFeatureVersion1);
  machine.request(kOut, 0, 512);
  EXPECT_EQ(image->flushes, 1);
}

TEST_F(VirtioBlkTest, GetIdGivesTheSerial) {
  machine.request(kGetId, 0, 20);
  expect_answer(kOk, 21);
  const auto id = machine.guest.bytes(BlkMachine::kData, 20);
  EXPECT_EQ(id[0], std::byte{'v'});
  EXPECT_EQ(id[1], std::byte{'m'});
  EXPECT_EQ(std::count(id.begin(), id.end(), std::byte{0}), 18);
}

TEST_F(VirtioBlkTest, GetIdIsCutToTheBuffer) {
  machine.guest.put(BlkMachine::kData, 0xffff'ffffu);
  machine.request(kGetId, 0, 1);
  expect_answer(kOk, 2);
  EXPECT_EQ(machine.guest.get<std::uint32_t>(BlkMachine::kData), 0xffff'ff00u | 'v');
}

TEST_F(VirtioBlkTest, AnImageErrorIsAnIoError) {
  for (const int failure : {EIO, ENOSPC}) {
    image->failure = failure;
    machine.request(kIn, 0, 512);
    expect_answer(kIoErr, 0);
    machine.request(kOut, 0, 512);
    expect_answer(kIoErr, 1);
    machine.request(kFlush, 0, 0);
    expect_answer(kIoErr, 1);
    image->failure = 0;
    machine.request(kIn, 0, 512);
    expect_answer(kOk, 513);
  }
}

TEST_F(VirtioBlkTest, DataOutsideRamIsAnIoErrorThatSaysHowMuchArrived) {
  machine.put_header(kIn, 0);
  machine.ring.offer_chain(
      {BlkMachine::header(), {kRamEnd - 512, 1024, kWrite, 0}, BlkMachine::status()});
  machine.kick();
  expect_answer(kIoErr, 512);
  EXPECT_EQ(machine.guest.bytes(kRamEnd - 512, 512), sectors(0, 1));
}

TEST_F(VirtioBlkTest, AWriteFromOutsideRamChangesNoSector) {
  const auto before = image->content;
  machine.put_header(kOut, 0);
  machine.ring.offer_chain(
      {BlkMachine::header(), {kRamEnd - 512, 1024, 0, 0}, BlkMachine::status()});
  machine.kick();
  expect_answer(kIoErr, 1);
  EXPECT_EQ(image->content, before);
}

TEST_F(VirtioBlkTest, DataThatEndsWithRamIsLegal) {
  machine.put_header(kIn, 9);
  machine.ring.offer_chain(
      {BlkMachine::header(), {kRamEnd - 1024, 1024, kWrite, 0}, BlkMachine::status()});
  machine.kick();
  expect_answer(kOk, 1025);
  EXPECT_EQ(machine.guest.bytes(kRamEnd - 1024, 1024), sectors(9, 2));
}

TEST_F(VirtioBlkTest, ARequestWithoutDataMovesNone) {
  machine.request(kIn, 0, 0);
  expect_answer(kOk, 1);
  machine.request(kOut, 0, 0);
  expect_answer(kOk, 1);
}

TEST_F(VirtioBlkTest, ManyRequestsInOneNotificationAreAllServed) {
  machine.put_header(kIn, 0);
  for (std::uint16_t i = 0; i < 5; ++i) {
    const auto at = static_cast<std::uint16_t>(3 * i);
    machine.ring.describe(at, {BlkMachine::kHeader, 16, kNext, static_cast<std::uint16_t>(at + 1)});
    machine.ring.describe(
        static_cast<std::uint16_t>(at + 1),
        {BlkMachine::kData + 512u * i, 512, kNext | kWrite, static_cast<std::uint16_t>(at + 2)});
    machine.ring.describe(static_cast<std::uint16_t>(at + 2), BlkMachine::status());
    machine.ring.offer(at);
  }
  machine.kick();
  EXPECT_EQ(machine.ring.used_index(), 5);
  EXPECT_EQ(machine.ring.used_entry(4), (UsedEntry{12, 513}));
  EXPECT_EQ(machine.line.rises(), 1);
}

TEST_F(VirtioBlkTest, TheSectorIsTheCopyTheRequestBeganWith) {
  // The data overwrites the header that asked for it.
  machine.put_header(kIn, 4);
  machine.ring.offer_chain(
      {BlkMachine::header(), {BlkMachine::kHeader - 512, 1024, kWrite, 0}, BlkMachine::status()});
  machine.kick();
  expect_answer(kOk, 1025);
  EXPECT_EQ(machine.guest.bytes(BlkMachine::kHeader - 512, 1024), sectors(4, 2));
}

TEST_F(VirtioBlkTest, CreateRefusesALongSerial) {
  const auto device =
      VirtioBlk::create(std::make_unique<MemoryImage>(1), {.serial = std::string(21, 's')});
  EXPECT_EQ(device.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(
      VirtioBlk::create(std::make_unique<MemoryImage>(1), {.serial = std::string(20, 's')}).ok());
  EXPECT_EQ(VirtioBlk::create(nullptr).status().code(), absl::StatusCode::kInvalidArgument);
}

class ReadOnlyBlkTest : public VirtioBlkTest {
 protected:
  ReadOnlyBlkTest() : VirtioBlkTest(ImageAccess::kReadOnly) {}
};

TEST_F(ReadOnlyBlkTest, TheFeatureSaysSo) { EXPECT_NE(machine.reg(0x10) & (1 << 5), 0u); }

TEST_F(ReadOnlyBlkTest, WritesAreRefusedAndReadsServed) {
  const auto before = image->content;
  machine.request(kOut, 0, 512);
  expect_answer(kIoErr, 1);
  EXPECT_EQ(image->content, before);
  machine.request(kIn, 0, 512);
  expect_answer(kOk, 513);
  machine.request(kFlush, 0, 0);
  expect_answer(kOk, 1);
  EXPECT_EQ(image->flushes, 0);
}

// Cuts [address, address + bytes) into descriptors at random places.
void cut(std::vector<RawDescriptor>& chain, std::uint64_t address, std::uint32_t bytes,
         std::uint16_t flags) {
  const auto pieces = *rc::gen::inRange<std::uint32_t>(1, 4);
  for (std::uint32_t i = 0; i < pieces; ++i) {
    const std::uint32_t piece =
        i + 1 == pieces ? bytes : *rc::gen::inRange<std::uint32_t>(0, bytes + 1);
    chain.push_back({address, piece, flags, 0});
    address += piece;
    bytes -= piece;
  }
}

RC_GTEST_PROP(VirtioBlkProperty, RequestsCutAnywhereMoveTheirSectors, ()) {
  auto owned = std::make_unique<MemoryImage>(64);
  MemoryImage& image = *owned;
  BlkMachine machine(std::move(owned));
  machine.start();
  for (int round = 0; round < 4; ++round) {
    const auto type = *rc::gen::elementOf(std::vector<std::uint32_t>{kIn, kOut});
    const auto sector = *rc::gen::inRange<std::uint32_t>(0, 60);
    const auto bytes = 512 * *rc::gen::inRange<std::uint32_t>(1, 5);
    const auto data = noise(bytes, sector + bytes);
    // Header and data, or data and status, side by side, so that one descriptor may
    // hold parts of both.
    const std::uint64_t base = BlkMachine::kData;
    std::vector<RawDescriptor> chain;
    std::vector<std::byte> expected = image.content;
    machine.guest.put(base, type);
    machine.guest.put(base + 8, std::uint64_t{sector});
    if (type == kOut) {
      std::copy(data.begin(), data.end(), expected.begin() + sector * 512);
      machine.guest.put_bytes(base + 16, data);
      cut(chain, base, 16 + bytes, 0);
      cut(chain, BlkMachine::kStatus, 1, kWrite);
    } else {
      cut(chain, base, 16, 0);
      cut(chain, base + 16, bytes + 1, kWrite);
    }
    for (std::uint16_t i = 0; i < chain.size(); ++i) {
      if (i + 1u < chain.size()) chain[i].flags |= kNext;
      chain[i].next = static_cast<std::uint16_t>(i + 1);
      machine.ring.describe(i, chain[i]);
    }
    machine.ring.offer(0);
    machine.kick();
    RC_ASSERT(machine.ring.used_index() == round + 1);
    const auto used = machine.ring.used_entry(static_cast<std::uint16_t>(round));
    RC_ASSERT(used.written == (type == kOut ? 1 : bytes + 1));
    RC_ASSERT(image.content == expected);
    const std::uint64_t status = type == kOut ? BlkMachine::kStatus : base + 16 + bytes;
    RC_ASSERT(machine.guest.get<std::uint8_t>(status) == kOk);
    if (type == kIn) {
      const auto begin = expected.begin() + sector * 512;
      RC_ASSERT(machine.guest.bytes(base + 16, bytes) ==
                std::vector<std::byte>(begin, begin + bytes));
    }
  }
}

}  // namespace
}  // namespace vm_device
