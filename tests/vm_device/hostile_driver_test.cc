// A driver that breaks the rules, against a block device behind its registers, with either
// form of ring, behind an IOMMU and without. Every case ends in an answer or in
// DEVICE_NEEDS_RESET with a configuration interrupt; the device has written what descriptors
// name and nothing else; and after a reset it serves the next good request.

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <iostream>
#include <string>
#include <vector>

#include "tests/vm_device/hostile_cases.h"

namespace vm_device {
namespace {

// A request costs a few operations, so does each of what one turn may look at.
constexpr std::uint64_t kMostOperations = 200;

class HostileDriverTest : public testing::TestWithParam<HostileSetting> {
 protected:
  // One case after the other on a machine of its own.
  void run(std::span<const HostileCase> cases) {
    for (const HostileCase& it : cases) {
      if ((it.forms & static_cast<unsigned>(GetParam().form)) == 0) continue;
      SCOPED_TRACE(it.name);
      const int failures = failed_parts();
      HostileMachine machine(GetParam().form, GetParam().place);
      ++tried_;
      expect_end(machine, it);
      if (failed_parts() == failures) ++ended_well_;
      if (restored(machine).serves_after_reset()) ++served_;
    }
  }
  // Each line of a log has all that a reader needs.
  void summarize() {
    std::cout << "hostile cases, " << GetParam().name << ": " << tried_ << " tried, " << ended_well_
              << " ended well, next good request after reset served " << served_ << "\n";
    EXPECT_EQ(ended_well_, tried_);
    EXPECT_EQ(served_, tried_);
  }

 private:
  static int failed_parts() {
    return testing::UnitTest::GetInstance()->current_test_info()->result()->total_part_count();
  }
  static void expect_end(HostileMachine& machine, const HostileCase& it) {
    const std::vector<std::byte> disk = machine.image->content;
    machine.start();
    it.offer(machine);
    machine.watch();
    const std::uint64_t operations = machine.dma_operations();
    machine.kick();
    EXPECT_LE(machine.dma_operations() - operations, kMostOperations);
    EXPECT_TRUE(machine.wrote_only_what_was_named());
    EXPECT_EQ(machine.image->content, disk);
    EXPECT_EQ(machine.leases(), 0u);
    const VirtqueueError error = machine.blk.slot.queue_error(0);
    const bool stopped = error != VirtqueueError::kNone;
    if (it.error.has_value()) {
      EXPECT_EQ(virtqueue_error_name(error), virtqueue_error_name(*it.error));
    }
    if (it.status != kAnyStatus) {
      EXPECT_EQ(machine.blk.status_byte(), it.status);
    }
    EXPECT_EQ(machine.blk.needs_reset(), stopped);
    EXPECT_EQ(machine.blk.config_interrupt(), stopped);
    if (it.error == VirtqueueError::kNone) {
      EXPECT_GE(machine.answered(), 1u);
    }
    EXPECT_EQ(machine.blk.line.level(), Level::kHigh);
    machine.kick();  // a stopped queue stays stopped
    EXPECT_EQ(virtqueue_error_name(machine.blk.slot.queue_error(0)), virtqueue_error_name(error));
  }
  // What a case took away at the IOMMU is there again.
  static HostileMachine& restored(HostileMachine& machine) {
    EXPECT_TRUE(machine.iommu->attach(HostileMachine::kDevice, machine.domain).ok());
    EXPECT_TRUE(machine.iommu->unmap_within(machine.domain, {kRamBase, kRamBytes}).ok());
    machine.map(kRamBase, kRamBytes, DmaAccess::kReadWrite);
    return machine;
  }

  int tried_ = 0;
  int ended_well_ = 0;
  int served_ = 0;
};

TEST_P(HostileDriverTest, BreaksNoMoreThanTheQueue) {
  run(hostile::kCases);
  run(hostile::kMoreCases);
  if (GetParam().place == Place::kBehindIommu) run(hostile::kIommuCases);
  summarize();
}

INSTANTIATE_TEST_SUITE_P(PerSetting, HostileDriverTest, testing::ValuesIn(kHostileSettings),
                         hostile_setting_name);

struct RingPlace {
  const char* name;
  unsigned forms;
  VirtqueueError error;
  void (*move)(VirtqueueConfig&);
};

const RingPlace kPlaces[] = {
    {"TableOutOfRam", kBothForms, VirtqueueError::kRingUnreachable,
     [](VirtqueueConfig& c) { c.descriptor_table = 0x1000; }},
    {"TablePastRam", kBothForms, VirtqueueError::kRingUnreachable,
     [](VirtqueueConfig& c) { c.descriptor_table = kRamEnd; }},
    {"AvailableOutOfRam", kBothForms, VirtqueueError::kRingUnreachable,
     [](VirtqueueConfig& c) { c.driver_area = 0x1000; }},
    {"UsedOutOfRam", kBothForms, VirtqueueError::kRingUnreachable,
     [](VirtqueueConfig& c) { c.device_area = 0x1000; }},
    {"UsedAcrossTheEndOfRam", kSplitForm, VirtqueueError::kRingUnreachable,
     [](VirtqueueConfig& c) { c.device_area = kRamEnd - 4; }},
    {"UsedInTheDevicesOwnRegisters", kBothForms, VirtqueueError::kRingUnreachable,
     [](VirtqueueConfig& c) { c.device_area = kSlot; }},
    {"TableWraps", kBothForms, VirtqueueError::kRingUnreachable,
     [](VirtqueueConfig& c) { c.descriptor_table = UINT64_MAX - 15; }},
    {"UsedWraps", kBothForms, VirtqueueError::kRingUnreachable,
     [](VirtqueueConfig& c) { c.device_area = UINT64_MAX - 3; }},
    {"TableMisaligned", kBothForms, VirtqueueError::kRingMisaligned,
     [](VirtqueueConfig& c) { c.descriptor_table += 1; }},
    {"SizeNotAPowerOfTwo", kSplitForm, VirtqueueError::kBadSize,
     [](VirtqueueConfig& c) { c.size = 12; }},
};

class HostilePlaceTest : public testing::TestWithParam<HostileSetting> {};

TEST_P(HostilePlaceTest, StopsTheQueueUntilReset) {
  for (const RingPlace& it : kPlaces) {
    if ((it.forms & static_cast<unsigned>(GetParam().form)) == 0) continue;
    SCOPED_TRACE(it.name);
    HostileMachine machine(GetParam().form, GetParam().place);
    VirtqueueConfig config = machine.ring.config();
    it.move(config);
    machine.start_with(config);
    machine.offer_read(BlkMachine::header(), BlkMachine::data(512, kWrite), BlkMachine::status());
    machine.watch();
    machine.kick();
    EXPECT_TRUE(machine.wrote_only_what_was_named());
    EXPECT_TRUE(machine.blk.needs_reset());
    EXPECT_EQ(virtqueue_error_name(machine.blk.slot.queue_error(0)),
              virtqueue_error_name(it.error));
    EXPECT_TRUE(machine.serves_after_reset());
  }
}

INSTANTIATE_TEST_SUITE_P(PerSetting, HostilePlaceTest, testing::ValuesIn(kHostileSettings),
                         hostile_setting_name);

// Descriptors that are wrong in every way but name writable memory in the arena alone.
constexpr std::uint64_t kArena = kRamBase + 0x4'0000;
constexpr std::uint64_t kTables = kRamBase + 0x3'0000;

RawDescriptor random_descriptor() {
  const auto flags = *rc::gen::inRange<int>(0, 8);
  const bool writable = (flags & kWrite) != 0 && (flags & kIndirect) == 0;
  const auto far = *rc::gen::elementOf(std::vector<std::uint64_t>{
      0, kRamEnd - 100, kRamEnd - 16, kRamEnd, UINT64_MAX - 100, UINT64_MAX});
  const auto near = *rc::gen::inRange<std::uint64_t>(0, 0x400);
  const std::uint64_t base = (flags & kIndirect) != 0 ? kTables : kArena;
  RawDescriptor it;
  it.address = *rc::gen::inRange(0, 8) == 0 ? far : base + (near & ~std::uint64_t{15});
  if (!writable && *rc::gen::inRange(0, 2) == 0) it.address = BlkMachine::kHeader;
  it.bytes = *rc::gen::elementOf(
      std::vector<std::uint32_t>{0, 1, 15, 16, 17, 32, 48, 512, 513, 1024, UINT32_MAX});
  it.flags = static_cast<std::uint16_t>(flags);
  it.next = static_cast<std::uint16_t>(*rc::gen::inRange(0, 18));
  return it;
}

// Marks what the device may write on account of this descriptor.
void allow(std::vector<bool>& allowed, const RawDescriptor& it) {
  for (std::uint64_t i = 0; i < it.bytes && it.address + i - kRamBase < kRamBytes; ++i) {
    allowed[it.address + i - kRamBase] = true;
  }
}

RC_GTEST_PROP(HostileRingProperty, WritesNothingButWhatTheDescriptorsName, ()) {
  BlkMachine machine(std::make_unique<MemoryImage>(64));
  machine.start();
  machine.put_header(*rc::gen::elementOf(std::vector<std::uint32_t>{0, 0, 0, 1, 4, 8, 99}), 1);
  std::vector<bool> allowed(kRamBytes);
  const auto place = [&](std::uint64_t at) {
    const RawDescriptor it = random_descriptor();
    machine.ring.describe_at(at, it);
    if ((it.flags & kWrite) != 0) allow(allowed, it);
  };
  // Good requests first, in descriptors 0-2, 3-5, ...; then some are spoilt.
  for (std::uint16_t head = 0; head < 15; head = static_cast<std::uint16_t>(head + 3)) {
    const RawDescriptor data{kArena + 0x1000u * head, 512, kNext | kWrite,
                             static_cast<std::uint16_t>(head + 2)};
    machine.ring.describe(head,
                          {BlkMachine::kHeader, 16, kNext, static_cast<std::uint16_t>(head + 1)});
    machine.ring.describe(static_cast<std::uint16_t>(head + 1), data);
    machine.ring.describe(static_cast<std::uint16_t>(head + 2), BlkMachine::status());
    allow(allowed, data);
  }
  allow(allowed, BlkMachine::status());
  for (int spoilt = *rc::gen::inRange(0, 6); spoilt > 0; --spoilt) {
    place(machine.ring.table() + 16 * *rc::gen::inRange<std::uint64_t>(0, 16));
  }
  for (std::uint64_t i = 0; i < 64; ++i) place(kTables + 16 * i);
  for (std::uint16_t i = 0; i < 16; ++i) {
    const int head = *rc::gen::inRange(0, 40);
    machine.ring.offer(static_cast<std::uint16_t>(head < 24 ? head % 5 * 3 : head % 17));
  }
  allow(allowed, {machine.ring.used(), 4 + 8 * 16 + 2, 0, 0});
  const auto before = machine.guest.bytes(kRamBase, kRamBytes);
  machine.kick();
  const auto after = machine.guest.bytes(kRamBase, kRamBytes);
  auto changed = std::mismatch(after.begin(), after.end(), before.begin());
  while (changed.first != after.end()) {
    RC_ASSERT(allowed[static_cast<std::size_t>(changed.first - after.begin())]);
    changed = std::mismatch(changed.first + 1, after.end(), changed.second + 1);
  }
  RC_ASSERT(machine.ring.used_index() <= 16);
  RC_ASSERT(machine.needs_reset() || machine.ring.used_index() == 16);
  RC_ASSERT(machine.needs_reset() == machine.config_interrupt());
  machine.start();
  machine.request(0, 0, 512);
  RC_ASSERT(machine.status_byte() == 0);
}

RC_GTEST_PROP(HostileRingProperty, NoiseEndsAndAResetRecovers, ()) {
  BlkMachine machine(std::make_unique<MemoryImage>(64));
  machine.start();
  std::uint32_t seed = *rc::gen::arbitrary<std::uint32_t>();
  std::vector<std::byte> noise(0x8000);
  for (std::byte& it : noise) {
    seed = seed * 1664525 + 1013904223;
    it = static_cast<std::byte>(seed >> 24);
  }
  machine.guest.put_bytes(machine.ring.table(), noise);
  machine.ring.set_available_index(*rc::gen::inRange<std::uint16_t>(0, 18));
  machine.kick();
  RC_ASSERT(machine.needs_reset() == (machine.slot.queue_error(0) != VirtqueueError::kNone));
  machine.start();
  machine.request(0, 0, 512);
  RC_ASSERT(machine.status_byte() == 0);
}

}  // namespace
}  // namespace vm_device
