// A driver that wants the host busy: endless looks at an index, requests of gigabytes.
// The device gives the driver a turn after a bounded amount of work.

#include <gtest/gtest.h>

#include "tests/vm_device/blk_machine.h"

namespace vm_device {
namespace {

constexpr std::uint64_t kTable = BlkMachine::kData + 0x8000;  // for indirect tables

// The available ring as a device that answers as a second vCPU may: the first look at
// the index finds nothing, the next a request, and so on.
class RestlessIndex final : public vm_mem::MmioHandler {
 public:
  static constexpr int kPatience = 100'000;

  vm_mem::AccessFault mmio_read(std::uint64_t offset, unsigned, std::uint64_t& value) override {
    value = 0;
    if (offset == 2 && ++looks < kPatience) value = looks % 2 == 0;
    return vm_mem::AccessFault::kNone;
  }
  vm_mem::AccessFault mmio_write(std::uint64_t, unsigned, std::uint64_t) override {
    return vm_mem::AccessFault::kNone;
  }

  int looks = 0;
};

TEST(HostileTurnTest, AnIndexThatComesAndGoesDoesNotKeepTheDevice) {
  constexpr std::uint64_t kIndex = 0x1000'8000;
  BlkMachine machine(std::make_unique<MemoryImage>(64));
  RestlessIndex index;
  ASSERT_TRUE(machine.guest.memory->add_mmio(guest_range(kIndex, 4096), &index).ok());
  VirtqueueConfig config = machine.ring.config();
  config.driver_area = kIndex;
  machine.start_with(config, kFeatureVersion1);
  machine.kick();
  EXPECT_LT(index.looks, RestlessIndex::kPatience);
}

// A disk of any size without content, that counts what is read.
class EndlessImage final : public BlockImage {
 public:
  explicit EndlessImage(std::uint64_t bytes) : bytes_(bytes) {}
  std::uint64_t bytes() const override { return bytes_; }
  ImageAccess access() const override { return ImageAccess::kReadWrite; }
  int read_at(std::uint64_t, std::span<std::byte> to) override {
    moved += to.size();
    return 0;
  }
  int write_at(std::uint64_t, std::span<const std::byte> from) override {
    moved += from.size();
    return 0;
  }
  int flush() override { return 0; }

  std::uint64_t moved = 0;

 private:
  std::uint64_t bytes_;
};

class HostileLengthTest : public testing::Test {
 protected:
  HostileLengthTest()
      : image(new EndlessImage(std::uint64_t{1} << 40)),
        machine(std::unique_ptr<BlockImage>(image)) {
    machine.start();
    machine.put_header(0, 0);
  }
  // A read of `pieces` times the same memory, all in one indirect table.
  void describe_read(std::uint16_t pieces, std::uint32_t bytes) {
    const auto link = [&](std::uint16_t index, RawDescriptor it) {
      it.next = static_cast<std::uint16_t>(index + 1);
      machine.ring.describe_at(kTable + 16 * std::uint64_t{index}, it);
    };
    link(0, {BlkMachine::kHeader, 16, kNext, 0});
    for (std::uint16_t i = 1; i <= pieces; ++i) {
      link(i, {kRamBase + 0x4'0000, bytes, kNext | kWrite, 0});
    }
    link(static_cast<std::uint16_t>(pieces + 1), BlkMachine::status());
    machine.ring.describe(0, {kTable, 16 * (pieces + 2u), kIndirect, 0});
  }

  EndlessImage* image;  // owned by machine
  BlkMachine machine;
};

TEST_F(HostileLengthTest, ATurnEndsAfterSoManyBytesAndTheRestIsServedLater) {
  describe_read(128, 512 * 1024);
  for (int i = 0; i < 16; ++i) machine.ring.offer(0);
  machine.kick();
  EXPECT_EQ(machine.ring.used_index(), 4);
  EXPECT_EQ(image->moved, std::uint64_t{256} << 20);
  for (int i = 0; i < 3; ++i) machine.reg(0x60);
  EXPECT_EQ(machine.ring.used_index(), 16);
  EXPECT_EQ(machine.status_byte(), 0);
}

// A driver that polls the used ring reaches no register: it notifies, unless the used
// ring tells it not to, and waits.
TEST_F(HostileLengthTest, APollingDriverIsServedAfterARequestThatTakesAWholeTurn) {
  for (const std::uint64_t features : {std::uint64_t{0}, kFeatureRingEventIdx}) {
    machine.start(kFeatureVersion1 | kFeatureRingIndirect | features);
    describe_read(512, 512 * 1024);
    machine.ring.offer(0);
    machine.kick();
    EXPECT_EQ(machine.ring.used_index(), 1);
    EXPECT_EQ(machine.ring.used_flags(), 0);
    EXPECT_EQ(machine.ring.available_event(), features == 0 ? 0 : 1);
  }
}

TEST_F(HostileLengthTest, ARequestAboveFourGiBIsRefusedBeforeAByteIsMoved) {
  describe_read(1020, 8 << 20);
  machine.ring.offer(0);
  machine.kick();
  EXPECT_EQ(machine.status_byte(), 1);
  EXPECT_EQ(image->moved, 0u);
}

}  // namespace
}  // namespace vm_device
