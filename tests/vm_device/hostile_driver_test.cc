// A driver that breaks the rules, against a block device behind its registers. Every
// case ends in an answer or in DEVICE_NEEDS_RESET with a configuration interrupt, and
// after a reset the device serves the next good request.

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "tests/vm_device/blk_machine.h"

namespace vm_device {
namespace {

constexpr std::uint64_t kTable = BlkMachine::kData + 0x8000;  // for indirect tables
constexpr std::uint32_t kDataBytes = 1024;

RawDescriptor read_data() { return BlkMachine::data(kDataBytes, kWrite); }

// The chain of a plain read, with one part replaced.
void offer_read(BlkMachine& machine, RawDescriptor header, RawDescriptor data,
                RawDescriptor status) {
  machine.put_header(0, 0);
  machine.ring.offer_chain({header, data, status});
}

void offer_indirect(BlkMachine& machine, std::uint64_t table, std::uint32_t bytes) {
  machine.put_header(0, 0);
  machine.ring.offer_chain({{table, bytes, kIndirect, 0}});
}

constexpr int kUnanswered = 0xee;

struct Case {
  const char* name;
  VirtqueueError error;  // kNone: answered
  int status;
  void (*offer)(BlkMachine&);
};

const Case kCases[] = {
    {"HeadPastTheTable", VirtqueueError::kHeadOutOfRange, kUnanswered,
     [](BlkMachine& m) { m.ring.offer(BlkMachine::kQueueSize); }},
    {"HeadFarPastTheTable", VirtqueueError::kHeadOutOfRange, kUnanswered,
     [](BlkMachine& m) { m.ring.offer(0xffff); }},
    {"NextPastTheTable", VirtqueueError::kNextOutOfRange, kUnanswered,
     [](BlkMachine& m) {
       m.ring.describe(0, {BlkMachine::kHeader, 16, kNext, BlkMachine::kQueueSize});
       m.ring.offer(0);
     }},
    {"Loop", VirtqueueError::kLoop, kUnanswered,
     [](BlkMachine& m) {
       m.ring.describe(0, {BlkMachine::kHeader, 16, kNext, 1});
       m.ring.describe(1, {BlkMachine::kHeader, 16, kNext, 0});
       m.ring.offer(0);
     }},
    {"SelfLoop", VirtqueueError::kLoop, kUnanswered,
     [](BlkMachine& m) {
       m.ring.describe(0, {BlkMachine::kData, 512, kNext | kWrite, 0});
       m.ring.offer(0);
     }},
    {"LoopOfHugeLengths", VirtqueueError::kLoop, kUnanswered,
     [](BlkMachine& m) {
       m.ring.describe(0, {kRamBase, UINT32_MAX, kNext | kWrite, 0});
       m.ring.offer(0);
     }},
    {"AvailableJump", VirtqueueError::kAvailableJump, kUnanswered,
     [](BlkMachine& m) { m.ring.set_available_index(BlkMachine::kQueueSize + 1); }},
    {"AvailableIndexBehind", VirtqueueError::kAvailableJump, kUnanswered,
     [](BlkMachine& m) { m.ring.set_available_index(0xffff); }},
    {"WriteBeforeRead", VirtqueueError::kReadAfterWrite, kUnanswered,
     [](BlkMachine& m) {
       m.put_header(0, 0);
       m.ring.offer_chain({read_data(), BlkMachine::header(), BlkMachine::status()});
     }},
    {"DataWraps", VirtqueueError::kAddressWrap, kUnanswered,
     [](BlkMachine& m) {
       offer_read(m, BlkMachine::header(), {UINT64_MAX - 511, 1024, kWrite, 0},
                  BlkMachine::status());
     }},
    {"NoStatus", VirtqueueError::kUnanswerable, kUnanswered,
     [](BlkMachine& m) {
       m.put_header(1, 0);
       m.ring.offer_chain({BlkMachine::header(), BlkMachine::data(512, 0)});
     }},
    {"ReadOnlyStatus", VirtqueueError::kUnanswerable, kUnanswered,
     [](BlkMachine& m) {
       m.put_header(4, 0);
       m.ring.offer_chain({BlkMachine::header(), {BlkMachine::kStatus, 1, 0, 0}});
     }},
    {"EmptyStatus", VirtqueueError::kUnanswerable, kUnanswered,
     [](BlkMachine& m) {
       m.put_header(4, 0);
       m.ring.offer_chain({BlkMachine::header(), {BlkMachine::kStatus, 0, kWrite, 0}});
     }},
    {"StatusOutOfRam", VirtqueueError::kUnanswerable, kUnanswered,
     [](BlkMachine& m) {
       offer_read(m, BlkMachine::header(), read_data(), {0x1000, 1, kWrite, 0});
     }},
    {"StatusJustPastRam", VirtqueueError::kUnanswerable, kUnanswered,
     [](BlkMachine& m) {
       offer_read(m, BlkMachine::header(), read_data(), {kRamEnd, 1, kWrite, 0});
     }},
    {"StatusInTheLastByteOfRam", VirtqueueError::kNone, kUnanswered,
     [](BlkMachine& m) {
       offer_read(m, BlkMachine::header(), read_data(), {kRamEnd - 1, 1, kWrite, 0});
     }},
    {"StatusInTheDevicesOwnRegisters", VirtqueueError::kUnanswerable, kUnanswered,
     [](BlkMachine& m) {
       offer_read(m, BlkMachine::header(), read_data(), {kSlot + 0x70, 1, kWrite, 0});
     }},
    {"DataInTheDevicesOwnRegisters", VirtqueueError::kNone, 1,
     [](BlkMachine& m) {
       offer_read(m, BlkMachine::header(), {kSlot, 512, kWrite, 0}, BlkMachine::status());
     }},
    {"HeaderInTheDevicesOwnRegisters", VirtqueueError::kNone, 1,
     [](BlkMachine& m) {
       offer_read(m, {kSlot, 16, 0, 0}, read_data(), BlkMachine::status());
     }},
    {"HeaderOutOfRam", VirtqueueError::kNone, 1,
     [](BlkMachine& m) {
       offer_read(m, {0x1000, 16, 0, 0}, read_data(), BlkMachine::status());
     }},
    {"HeaderTooShort", VirtqueueError::kNone, 1,
     [](BlkMachine& m) {
       offer_read(m, {BlkMachine::kHeader, 15, 0, 0}, read_data(), BlkMachine::status());
     }},
    {"NoHeader", VirtqueueError::kNone, 1,
     [](BlkMachine& m) {
       m.ring.offer_chain({read_data(), BlkMachine::status()});
     }},
    {"DataOutOfRam", VirtqueueError::kNone, 1,
     [](BlkMachine& m) {
       offer_read(m, BlkMachine::header(), {0x1000, 1024, kWrite, 0}, BlkMachine::status());
     }},
    {"DataAcrossTheEndOfRam", VirtqueueError::kNone, 1,
     [](BlkMachine& m) {
       offer_read(m, BlkMachine::header(), {kRamEnd - 1023, 1024, kWrite, 0}, BlkMachine::status());
     }},
    {"DataThatEndsWithRam", VirtqueueError::kNone, 0,
     [](BlkMachine& m) {
       offer_read(m, BlkMachine::header(), {kRamEnd - 1024, 1024, kWrite, 0}, BlkMachine::status());
     }},
    {"DataOfLengthZero", VirtqueueError::kNone, 0,
     [](BlkMachine& m) {
       offer_read(m, BlkMachine::header(), {BlkMachine::kData, 0, kWrite, 0}, BlkMachine::status());
     }},
    {"DataOfFourGiB", VirtqueueError::kNone, 1,
     [](BlkMachine& m) {
       offer_read(m, BlkMachine::header(), {BlkMachine::kData, UINT32_MAX, kWrite, 0},
                  BlkMachine::status());
     }},
    {"DataOfManyTimesFourGiB", VirtqueueError::kNone, 1,
     [](BlkMachine& m) {
       const RawDescriptor huge{BlkMachine::kData, 0x8000'0000, kWrite, 0};
       m.put_header(0, 0);
       m.ring.offer_chain({BlkMachine::header(), huge, huge, BlkMachine::status()});
     }},
    {"EverythingOfLengthZero", VirtqueueError::kUnanswerable, kUnanswered,
     [](BlkMachine& m) {
       m.ring.offer_chain({{0, 0, 0, 0}, {0, 0, kWrite, 0}});
     }},
    {"IndirectNested", VirtqueueError::kIndirectNested, kUnanswered,
     [](BlkMachine& m) {
       m.ring.write_chain(kTable, {{kTable + 256, 32, kIndirect, 0}});
       offer_indirect(m, kTable, 16);
     }},
    {"IndirectThatNamesItself", VirtqueueError::kIndirectNested, kUnanswered,
     [](BlkMachine& m) {
       m.ring.write_chain(kTable, {{kTable, 16, kIndirect, 0}});
       offer_indirect(m, kTable, 16);
     }},
    {"IndirectOfBadLength", VirtqueueError::kIndirectBadLength, kUnanswered,
     [](BlkMachine& m) { offer_indirect(m, kTable, 17); }},
    {"IndirectOfLengthZero", VirtqueueError::kIndirectBadLength, kUnanswered,
     [](BlkMachine& m) { offer_indirect(m, kTable, 0); }},
    {"IndirectHuge", VirtqueueError::kIndirectTooLong, kUnanswered,
     [](BlkMachine& m) { offer_indirect(m, kTable, 256 << 20); }},
    {"IndirectOutOfRam", VirtqueueError::kIndirectUnreachable, kUnanswered,
     [](BlkMachine& m) { offer_indirect(m, 0x1000, 32); }},
    {"IndirectAcrossTheEndOfRam", VirtqueueError::kIndirectUnreachable, kUnanswered,
     [](BlkMachine& m) { offer_indirect(m, kRamEnd - 16, 32); }},
    {"IndirectThatEndsWithRam", VirtqueueError::kNone, 0,
     [](BlkMachine& m) {
       m.ring.write_chain(kRamEnd - 48, {BlkMachine::header(), read_data(), BlkMachine::status()});
       offer_indirect(m, kRamEnd - 48, 48);
     }},
    {"IndirectInTheDevicesOwnRegisters", VirtqueueError::kIndirectUnreachable, kUnanswered,
     [](BlkMachine& m) { offer_indirect(m, kSlot, 32); }},
    {"IndirectWithNext", VirtqueueError::kIndirectWithNext, kUnanswered,
     [](BlkMachine& m) {
       m.ring.offer_chain({{kTable, 32, kIndirect, 0}, BlkMachine::status()});
     }},
    {"IndirectLoop", VirtqueueError::kLoop, kUnanswered,
     [](BlkMachine& m) {
       m.ring.describe_at(kTable, {BlkMachine::kHeader, 16, kNext, 0});
       offer_indirect(m, kTable, 32);
     }},
    {"IndirectNextPastTheTable", VirtqueueError::kNextOutOfRange, kUnanswered,
     [](BlkMachine& m) {
       m.ring.describe_at(kTable, {BlkMachine::kHeader, 16, kNext, 2});
       offer_indirect(m, kTable, 32);
     }},
    {"DataOverTheDescriptorTable", VirtqueueError::kNone, 0,
     [](BlkMachine& m) {
       offer_read(m, BlkMachine::header(), {m.ring.table(), 512, kWrite, 0}, BlkMachine::status());
     }},
    // The sector that lands there has 0x150e where the index is.
    {"DataOverTheAvailableRing", VirtqueueError::kAvailableJump, 0,
     [](BlkMachine& m) {
       offer_read(m, BlkMachine::header(), {m.ring.available(), 512, kWrite, 0},
                  BlkMachine::status());
     }},
    {"DataOverTheUsedRing", VirtqueueError::kNone, 0,
     [](BlkMachine& m) {
       offer_read(m, BlkMachine::header(), {m.ring.used(), 512, kWrite, 0}, BlkMachine::status());
     }},
    {"StatusOverTheAvailableIndex", VirtqueueError::kAvailableJump, kUnanswered,
     [](BlkMachine& m) {
       offer_read(m, BlkMachine::header(), read_data(), {m.ring.available() + 2, 1, kWrite, 0});
     }},
};

class HostileDriverTest : public testing::TestWithParam<Case> {
 protected:
  HostileDriverTest() : image(new MemoryImage(64)), machine(std::unique_ptr<BlockImage>(image)) {}

  void expect_good_request() {
    machine.start();
    machine.request(0, 5, 512);
    EXPECT_EQ(machine.status_byte(), 0);
    EXPECT_EQ(machine.ring.used_index(), 1);
    EXPECT_EQ(std::memcmp(machine.guest.bytes(BlkMachine::kData, 512).data(),
                          &image->content[5 * 512], 512),
              0);
    EXPECT_FALSE(machine.needs_reset());
  }

  MemoryImage* image;  // owned by machine
  BlkMachine machine;
};

TEST_P(HostileDriverTest, BreaksNoMoreThanTheQueue) {
  const std::vector<std::byte> disk = image->content;
  machine.start();
  GetParam().offer(machine);
  machine.kick();
  EXPECT_EQ(virtqueue_error_name(machine.slot.queue_error(0)),
            virtqueue_error_name(GetParam().error));
  EXPECT_EQ(machine.status_byte(), GetParam().status);
  const bool stopped = GetParam().error != VirtqueueError::kNone;
  EXPECT_EQ(machine.needs_reset(), stopped);
  EXPECT_EQ(machine.config_interrupt(), stopped);
  if (!stopped) {
    EXPECT_EQ(machine.ring.used_index(), 1);
  }
  EXPECT_EQ(machine.line.level(), Level::kHigh);
  EXPECT_EQ(image->content, disk);
  machine.kick();  // a stopped queue stays stopped
  EXPECT_EQ(machine.slot.queue_error(0), GetParam().error);
  expect_good_request();
}

INSTANTIATE_TEST_SUITE_P(PerCase, HostileDriverTest, testing::ValuesIn(kCases),
                         [](const auto& it) { return std::string(it.param.name); });

struct RingPlace {
  const char* name;
  VirtqueueError error;
  void (*move)(VirtqueueConfig&);
};

const RingPlace kPlaces[] = {
    {"TableOutOfRam", VirtqueueError::kRingUnreachable,
     [](VirtqueueConfig& c) { c.descriptor_table = 0x1000; }},
    {"TablePastRam", VirtqueueError::kRingUnreachable,
     [](VirtqueueConfig& c) { c.descriptor_table = kRamEnd; }},
    {"AvailableOutOfRam", VirtqueueError::kRingUnreachable,
     [](VirtqueueConfig& c) { c.driver_area = 0x1000; }},
    {"UsedOutOfRam", VirtqueueError::kRingUnreachable,
     [](VirtqueueConfig& c) { c.device_area = 0x1000; }},
    {"UsedAcrossTheEndOfRam", VirtqueueError::kRingUnreachable,
     [](VirtqueueConfig& c) { c.device_area = kRamEnd - 4; }},
    {"UsedInTheDevicesOwnRegisters", VirtqueueError::kRingUnreachable,
     [](VirtqueueConfig& c) { c.device_area = kSlot; }},
    {"TableWraps", VirtqueueError::kRingUnreachable,
     [](VirtqueueConfig& c) { c.descriptor_table = UINT64_MAX - 15; }},
    {"UsedWraps", VirtqueueError::kRingUnreachable,
     [](VirtqueueConfig& c) { c.device_area = UINT64_MAX - 3; }},
    {"TableMisaligned", VirtqueueError::kRingMisaligned,
     [](VirtqueueConfig& c) { c.descriptor_table += 1; }},
    {"SizeNotAPowerOfTwo", VirtqueueError::kBadSize, [](VirtqueueConfig& c) { c.size = 12; }},
};

class HostilePlaceTest : public testing::TestWithParam<RingPlace> {};

TEST_P(HostilePlaceTest, StopsTheQueueUntilReset) {
  BlkMachine machine(std::make_unique<MemoryImage>(64));
  VirtqueueConfig config = machine.ring.config();
  GetParam().move(config);
  machine.start_with(config, kFeatureVersion1);
  machine.request(0, 0, 512);
  EXPECT_TRUE(machine.needs_reset());
  EXPECT_EQ(virtqueue_error_name(machine.slot.queue_error(0)),
            virtqueue_error_name(GetParam().error));
  machine.start();
  machine.request(0, 0, 512);
  EXPECT_EQ(machine.status_byte(), 0);
  EXPECT_FALSE(machine.needs_reset());
}

INSTANTIATE_TEST_SUITE_P(PerPlace, HostilePlaceTest, testing::ValuesIn(kPlaces),
                         [](const auto& it) { return std::string(it.param.name); });

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
