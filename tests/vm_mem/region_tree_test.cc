// Overlapping regions: what is seen where, and what is refused.
#include "vm_mem/internal/region_tree.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_format.h"
#include "tests/support/guest_range.h"
#include "tests/vm_mem/scripted_device.h"
#include "vm_mem/memory_manager.h"

namespace vm_mem {
namespace {

using vm_test::range;

class RegionTreeTest : public testing::Test {
 protected:
  MemoryManager& mm() { return *memory_; }

  RegionId ram(std::uint64_t begin, std::uint64_t bytes, Placement placement = {}) {
    return mm()
        .add_ram(range(begin, bytes),
                 {.priority = placement.priority, .container = placement.container})
        .value();
  }
  RegionId container(std::uint64_t begin, std::uint64_t bytes, Placement placement = {}) {
    return mm().add_container(range(begin, bytes), placement).value();
  }
  RegionId alias(std::uint64_t begin, std::uint64_t bytes, RegionId target, std::uint64_t offset,
                 Placement placement = {}) {
    return mm().add_alias(range(begin, bytes), target, offset, placement).value();
  }

  // "1@0+0x1000>3", in pages: region 1 at page 0 from its page 1 on, shown by alias 3.
  std::string seen() {
    std::string text;
    for (const MapSection& section : mm().map()->sections()) {
      if (!text.empty()) text += ' ';
      text += absl::StrFormat("%d@%x-%x", static_cast<int>(section.shown),
                              section.range.begin().value >> 12, section.range.end().value >> 12);
      if (section.region_offset != 0) text += absl::StrFormat("+%x", section.region_offset >> 12);
      if (section.region != section.shown) {
        text += absl::StrFormat(">%d", static_cast<int>(section.region));
      }
      if (section.protection == Protection::kRead) text += "r";
      if (section.protection == Protection::kNone) text += "-";
    }
    return text;
  }

  void expect_refused(const absl::Status& status, absl::StatusCode code, const char* message) {
    EXPECT_EQ(status.code(), code);
    EXPECT_EQ(status.message(), message);
  }

 private:
  std::unique_ptr<MemoryManager> memory_ = MemoryManager::create({.max_regions = 1024}).value();
};

TEST_F(RegionTreeTest, TheHigherPriorityIsSeen) {
  ram(0x0000, 0x8000);
  ram(0x2000, 0x1000, {.priority = 1});
  ram(0x2000, 0x3000, {.priority = -1});
  EXPECT_EQ(seen(), "1@0-2 2@2-3 1@3-8+3");
}

TEST_F(RegionTreeTest, RegionsThatTouchDoNotOverlap) {
  ram(0x1000, 0x1000);
  ram(0x2000, 0x1000);
  ram(0x0000, 0x1000);
  EXPECT_EQ(seen(), "3@0-1 1@1-2 2@2-3");
}

TEST_F(RegionTreeTest, AGapOfAContainerShowsWhatLiesBelow) {
  ram(0x0000, 0x8000);
  const RegionId box = container(0x1000, 0x5000, {.priority = 1});
  EXPECT_EQ(seen(), "1@0-8");
  ram(0x1000, 0x1000, {.container = box});
  ram(0x3000, 0x1000, {.container = box});
  EXPECT_EQ(seen(), "1@0-2 3@2-3 1@3-4+3 4@4-5 1@5-8+5");
}

TEST_F(RegionTreeTest, AContainerClipsWhatItHolds) {
  const RegionId box = container(0x10000, 0x3000);
  ram(0x2000, 0x4000, {.container = box});
  ram(0x8000, 0x1000, {.container = box});
  EXPECT_EQ(seen(), "2@12-13");
  ASSERT_TRUE(mm().resize_region(box, 0x9000).ok());
  EXPECT_EQ(seen(), "2@12-16 3@18-19");
}

TEST_F(RegionTreeTest, PrioritiesCountInsideTheirContainerOnly) {
  const RegionId low = container(0x0000, 0x4000);
  ram(0x0000, 0x4000, {.priority = 100, .container = low});
  const RegionId high = container(0x0000, 0x4000, {.priority = 1});
  ram(0x1000, 0x1000, {.priority = -100, .container = high});
  EXPECT_EQ(seen(), "2@0-1 4@1-2 2@2-4+2");
}

TEST_F(RegionTreeTest, MovingAContainerMovesAllThatItHolds) {
  const RegionId outer = container(0x10000, 0x8000);
  const RegionId inner = container(0x2000, 0x4000, {.container = outer});
  ram(0x1000, 0x1000, {.container = inner});
  EXPECT_EQ(seen(), "3@13-14");
  ASSERT_TRUE(mm().move_region(outer, GuestAddress{0x40000}).ok());
  EXPECT_EQ(seen(), "3@43-44");
  ASSERT_TRUE(mm().move_region(inner, GuestAddress{0}).ok());
  EXPECT_EQ(seen(), "3@41-42");
}

TEST_F(RegionTreeTest, DisabledRegionsAreNotSeenAndTakeNoPlace) {
  const RegionId first = ram(0x1000, 0x1000);
  ASSERT_TRUE(mm().set_enabled(first, Enabled::kNo).ok());
  const RegionId second = ram(0x1000, 0x1000);
  EXPECT_EQ(seen(), "2@1-2");
  expect_refused(mm().set_enabled(first, Enabled::kYes), absl::StatusCode::kAlreadyExists,
                 "range [0x1000, 0x2000) overlaps region 0x2 at [0x1000, 0x2000)");
  EXPECT_EQ(mm().region_info(first)->enabled, Enabled::kNo);
  ASSERT_TRUE(mm().set_enabled(second, Enabled::kNo).ok());
  ASSERT_TRUE(mm().set_enabled(first, Enabled::kYes).ok());
  EXPECT_EQ(seen(), "1@1-2");
}

TEST_F(RegionTreeTest, ADisabledContainerHidesWhatItHolds) {
  const RegionId box = container(0x0000, 0x4000);
  ram(0x0000, 0x1000, {.container = box});
  ASSERT_TRUE(mm().set_enabled(box, Enabled::kNo).ok());
  EXPECT_EQ(seen(), "");
}

TEST_F(RegionTreeTest, AnAliasOfAContainerShowsWhatIsSeenInIt) {
  const RegionId box = container(0x0000, 0x4000);
  ram(0x0000, 0x2000, {.container = box});
  ram(0x1000, 0x1000, {.priority = 1, .container = box});
  alias(0x10000, 0x3000, box, 0x1000);
  EXPECT_EQ(seen(), "2@0-1 3@1-2 3@10-11>4");
}

TEST_F(RegionTreeTest, AnAliasShowsARegionThatIsDisabledAtItsOwnPlace) {
  const RegionId hidden = ram(0x0000, 0x2000);
  ASSERT_TRUE(mm().set_enabled(hidden, Enabled::kNo).ok());
  alias(0x8000, 0x1000, hidden, 0x1000);
  EXPECT_EQ(seen(), "1@8-9+1>2");
}

TEST_F(RegionTreeTest, AliasesThatContinueEachOtherStayApart) {
  const RegionId memory = ram(0x0000, 0x2000);
  alias(0x8000, 0x1000, memory, 0x0000);
  alias(0x9000, 0x1000, memory, 0x1000);
  EXPECT_EQ(seen(), "1@0-2 1@8-9>2 1@9-a+1>3");
}

TEST_F(RegionTreeTest, AnAliasOfADeviceReachesItsRegisters) {
  ScriptedDevice device;
  const RegionId registers = mm().add_mmio(range(0x0000, 0x4000), &device).value();
  alias(0x10000, 0x1000, registers, 0x2000);
  ASSERT_TRUE(mm().store(GuestAddress{0x10010}, std::uint32_t{7}).ok());
  ASSERT_EQ(device.log().size(), 1u);
  EXPECT_EQ(device.log()[0].offset, 0x2010u);
}

TEST_F(RegionTreeTest, ADeviceThatIsPartlyHiddenKeepsItsOffsets) {
  ScriptedDevice device;
  ASSERT_TRUE(mm().add_mmio(range(0x1000, 0x3000), &device).ok());
  ram(0x1000, 0x1000, {.priority = 1});
  ASSERT_TRUE(mm().store(GuestAddress{0x2004}, std::uint32_t{7}).ok());
  EXPECT_EQ(device.log()[0].offset, 0x1004u);
}

// Low memory of a PC: RAM below everything, the VGA window over it, ROM shadowing by
// write protection, and SMRAM that one bit opens over the VGA window.
TEST_F(RegionTreeTest, PcLowMemory) {
  ScriptedDevice vga;
  const RegionId memory = ram(0x0000'0000, 0x0020'0000);
  const RegionId pci = container(0x0000'0000, 0x0020'0000, {.priority = -1});
  ASSERT_TRUE(mm().add_mmio(range(0xa0000, 0x20000), &vga, {.container = pci}).ok());
  const RegionId window = alias(0xa0000, 0x20000, pci, 0xa0000, {.priority = 1});
  const RegionId smram = alias(0xa0000, 0x20000, memory, 0xa0000, {.priority = 2});
  const RegionId pam = alias(0xf0000, 0x10000, memory, 0xf0000, {.priority = 1});
  ASSERT_TRUE(mm().set_enabled(smram, Enabled::kNo).ok());
  ASSERT_TRUE(mm().set_protection(pam, Protection::kRead).ok());
  EXPECT_EQ(seen(), "1@0-a0 3@a0-c0>4 1@c0-f0+c0 1@f0-100+f0>6r 1@100-200+100");

  ASSERT_TRUE(mm().store(GuestAddress{0xa0000}, std::uint8_t{1}).ok());
  EXPECT_EQ(vga.log().size(), 1u);
  ASSERT_TRUE(mm().set_enabled(smram, Enabled::kYes).ok());
  ASSERT_TRUE(mm().store(GuestAddress{0xa0000}, std::uint8_t{2}).ok());
  EXPECT_EQ(vga.log().size(), 1u);

  EXPECT_EQ(mm().store(GuestAddress{0xf0000}, std::uint8_t{3}).fault, AccessFault::kReadOnly);
  ASSERT_TRUE(mm().set_protection(pam, Protection::kReadWrite).ok());
  ASSERT_TRUE(mm().store(GuestAddress{0xf0000}, std::uint8_t{3}).ok());
  std::uint8_t byte = 0;
  ASSERT_TRUE(mm().set_enabled(window, Enabled::kNo).ok());
  ASSERT_TRUE(mm().set_enabled(smram, Enabled::kNo).ok());
  ASSERT_TRUE(mm().load(GuestAddress{0xa0000}, byte).ok());
  EXPECT_EQ(byte, 2);
}

// A console: 16 KiB of RAM that appear four times in a row, in a bank that appears
// twice. Written at one mirror, read at every other.
TEST_F(RegionTreeTest, MirrorsOfAConsole) {
  const RegionId bank = container(0x0000, 0x10000);
  const RegionId memory = ram(0x0000, 0x4000, {.container = bank});
  for (std::uint64_t at = 0x4000; at < 0x10000; at += 0x4000) {
    alias(at, 0x4000, memory, 0, {.container = bank});
  }
  alias(0x80000, 0x10000, bank, 0);
  ASSERT_TRUE(mm().store(GuestAddress{0x8123}, std::uint8_t{0x5a}).ok());
  for (const std::uint64_t base : {0x0u, 0x80000u}) {
    for (std::uint64_t mirror = 0; mirror < 0x10000; mirror += 0x4000) {
      std::uint8_t byte = 0;
      ASSERT_TRUE(mm().load(GuestAddress{base + mirror + 0x123}, byte).ok());
      EXPECT_EQ(byte, 0x5a);
    }
  }
}

// A ring that is shown twice in a row needs no code for the wrap.
TEST_F(RegionTreeTest, AWindowThatWrapsAround) {
  const RegionId ring = ram(0x10000, 0x2000);
  alias(0x12000, 0x2000, ring, 0);
  const std::vector<std::byte> message(16, std::byte{0x77});
  ASSERT_TRUE(mm().write(GuestAddress{0x11ff8}, message).ok());
  std::vector<std::byte> start(8);
  ASSERT_TRUE(mm().read(GuestAddress{0x10000}, start).ok());
  EXPECT_EQ(start, std::vector<std::byte>(8, std::byte{0x77}));
}

TEST_F(RegionTreeTest, ProtectionIsTheLeastOnTheWay) {
  const RegionId box = container(0x0000, 0x2000);
  const RegionId memory = ram(0x0000, 0x2000, {.container = box});
  alias(0x8000, 0x1000, box, 0);
  ASSERT_TRUE(mm().set_protection(box, Protection::kRead).ok());
  EXPECT_EQ(seen(), "2@0-2r 2@8-9>3r");
  ASSERT_TRUE(mm().set_protection(memory, Protection::kNone).ok());
  EXPECT_EQ(seen(), "2@0-2- 2@8-9>3-");
  std::uint8_t byte = 0;
  EXPECT_EQ(mm().load(GuestAddress{0x10}, byte).fault, AccessFault::kProtected);
  EXPECT_EQ(mm().store(GuestAddress{0x10}, byte).fault, AccessFault::kProtected);
}

TEST_F(RegionTreeTest, AddressesReachAllSixtyFourBits) {
  const std::uint64_t high = std::uint64_t{1} << 51;
  ram(high, 0x1000);
  const RegionId last = ram(UINT64_MAX - 0x2fff, 0x2000);
  ASSERT_TRUE(mm().store(GuestAddress{high + 8}, std::uint64_t{5}).ok());
  ASSERT_TRUE(mm().store(GuestAddress{UINT64_MAX - 0x1008}, std::uint64_t{6}).ok());
  const RegionId box = container(0, UINT64_MAX - 0xfff, {.priority = 1});
  alias(UINT64_MAX - 0x1fff, 0x1000, last, 0, {.container = box});
  std::uint64_t word = 0;
  ASSERT_TRUE(mm().load(GuestAddress{UINT64_MAX - 0x1fff + 0xff8}, word).ok());
  EXPECT_EQ(word, 0u);
}

TEST_F(RegionTreeTest, RefusesAliasesThatShowThemselves) {
  const RegionId outer = container(0x0000, 0x8000);
  const RegionId inner = container(0x0000, 0x4000, {.container = outer});
  const RegionId apart = container(0x10000, 0x8000);
  const RegionId first = alias(0x0000, 0x4000, outer, 0, {.container = apart});
  expect_refused(mm().add_alias(range(0x0000, 0x1000), inner, 0, {.container = inner}).status(),
                 absl::StatusCode::kInvalidArgument,
                 "an alias of container 0x2 inside container 0x2 would show itself");
  expect_refused(mm().add_alias(range(0x0000, 0x1000), outer, 0, {.container = inner}).status(),
                 absl::StatusCode::kInvalidArgument,
                 "an alias of container 0x1 inside container 0x2 would show itself");
  expect_refused(mm().add_alias(range(0x0000, 0x1000), apart, 0, {.container = inner}).status(),
                 absl::StatusCode::kInvalidArgument,
                 "an alias of container 0x3 inside container 0x2 would show itself");
  expect_refused(mm().add_alias(range(0x4000, 0x1000), first, 0, {.container = outer}).status(),
                 absl::StatusCode::kInvalidArgument,
                 "an alias of container 0x1 inside container 0x1 would show itself");
  expect_refused(mm().add_alias(range(0x40000, 0x1000), kRootContainer, 0).status(),
                 absl::StatusCode::kInvalidArgument,
                 "an alias of container 0x0 inside container 0x0 would show itself");
}

TEST_F(RegionTreeTest, RefusesToPlaceInWhatIsNoContainer) {
  const RegionId memory = ram(0x0000, 0x1000);
  expect_refused(mm().add_container(range(0x0000, 0x1000), {.container = memory}).status(),
                 absl::StatusCode::kInvalidArgument, "region 0x1 is not a container");
  expect_refused(mm().add_container(range(0x0000, 0x1000), {.container = RegionId{9}}).status(),
                 absl::StatusCode::kNotFound, "no region 0x9");
}

TEST_F(RegionTreeTest, AContainerThatHoldsRegionsStays) {
  const RegionId box = container(0x1000, 0x4000);
  const RegionId memory = ram(0x2000, 0x1000, {.container = box});
  ASSERT_TRUE(mm().set_enabled(memory, Enabled::kNo).ok());
  expect_refused(mm().remove_region(box, RemovePolicy::kRefuse),
                 absl::StatusCode::kFailedPrecondition,
                 "container 0x1 holds region 0x2 at [0x2000, 0x3000)");
  ASSERT_TRUE(mm().remove_region(memory, RemovePolicy::kWait).ok());
  EXPECT_TRUE(mm().remove_region(box, RemovePolicy::kWait).ok());
}

TEST_F(RegionTreeTest, RefusesToMoveOntoAnotherOrPastTheEnd) {
  const RegionId memory = ram(0x1000, 0x2000);
  ram(0x8000, 0x1000);
  expect_refused(mm().move_region(memory, GuestAddress{0x7000}), absl::StatusCode::kAlreadyExists,
                 "range [0x7000, 0x9000) overlaps region 0x2 at [0x8000, 0x9000)");
  expect_refused(mm().move_region(memory, GuestAddress{UINT64_MAX - 0xfff}),
                 absl::StatusCode::kInvalidArgument,
                 "0x2000 bytes at 0xfffffffffffff000 pass the end of the address space");
  expect_refused(mm().move_region(memory, GuestAddress{0x4010}), absl::StatusCode::kInvalidArgument,
                 "range [0x4010, 0x6010) does not begin and end at multiples of 0x1000");
  EXPECT_EQ(seen(), "1@1-3 2@8-9");
  EXPECT_TRUE(mm().move_region(memory, GuestAddress{0x2000}).ok());  // over itself
  EXPECT_EQ(seen(), "1@2-4 2@8-9");
}

TEST_F(RegionTreeTest, RefusesSizesThatDoNotFit) {
  const RegionId memory = ram(0x1000, 0x2000);
  const RegionId window = alias(0x8000, 0x1000, memory, 0x1000);
  expect_refused(mm().resize_region(memory, 0x1000), absl::StatusCode::kFailedPrecondition,
                 "alias 0x2 shows 0x1000 bytes at offset 0x1000 of region 0x1, which would have "
                 "0x1000");
  expect_refused(mm().resize_region(memory, 0x3000), absl::StatusCode::kInvalidArgument,
                 "0x3000 bytes for region 0x1, which can have at most 0x2000");
  expect_refused(mm().resize_region(memory, 0), absl::StatusCode::kFailedPrecondition,
                 "alias 0x2 shows 0x1000 bytes at offset 0x1000 of region 0x1, which would have "
                 "0x0");
  expect_refused(mm().resize_region(window, 0x2000), absl::StatusCode::kInvalidArgument,
                 "an alias of 0x2000 bytes at offset 0x1000 of region 0x1, which has 0x2000 bytes, "
                 "must lie inside it, at a multiple of 0x1000");
  expect_refused(mm().resize_region(window, 0), absl::StatusCode::kInvalidArgument,
                 "empty range at 0x8000");
  EXPECT_EQ(seen(), "1@1-3 1@8-9+1>2");
}

TEST_F(RegionTreeTest, OnlyRamIsTrackedAndRomStaysReadOnly) {
  const RegionId rom = mm().add_rom(range(0x1000, 0x1000), {}).value();
  expect_refused(mm().set_dirty_tracking(rom, DirtyTracking::kOn),
                 absl::StatusCode::kInvalidArgument,
                 "region 0x1 is not RAM: its writes are not tracked");
  expect_refused(mm().set_protection(rom, Protection::kReadWrite),
                 absl::StatusCode::kInvalidArgument, "region 0x1 is ROM: it cannot be written");
}

TEST_F(RegionTreeTest, EveryEditOfWhatIsNotThereIsNotFound) {
  const RegionId none{7};
  for (const absl::Status& status :
       {mm().set_enabled(none, Enabled::kNo), mm().set_protection(none, Protection::kRead),
        mm().set_dirty_tracking(none, DirtyTracking::kOn), mm().move_region(none, GuestAddress{0}),
        mm().resize_region(none, 0x1000), mm().remove_region(none, RemovePolicy::kWait),
        mm().region_info(none).status()}) {
    expect_refused(status, absl::StatusCode::kNotFound, "no region 0x7");
  }
}

TEST_F(RegionTreeTest, TellsHowARegionLies) {
  const RegionId box = container(0x1000, 0x4000);
  const RegionId memory = ram(0x0000, 0x2000, {.priority = 3, .container = box});
  const RegionId window = alias(0x8000, 0x1000, memory, 0x1000);
  const RegionInfo info = mm().region_info(memory).value();
  EXPECT_EQ(info.region, memory);
  EXPECT_EQ(info.type, RegionType::kRam);
  EXPECT_EQ(info.range, range(0x0000, 0x2000));
  EXPECT_EQ(info.placement.priority, 3);
  EXPECT_EQ(info.placement.container, box);
  EXPECT_EQ(info.leases, 0u);
  EXPECT_EQ(mm().region_info(window)->target, memory);
  EXPECT_EQ(mm().region_info(window)->target_offset, 0x1000u);
}

}  // namespace
}  // namespace vm_mem
