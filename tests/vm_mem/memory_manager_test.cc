#include "vm_mem/memory_manager.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <array>
#include <memory>
#include <vector>

#include "tests/support/guest_range.h"
#include "tests/vm_mem/scripted_device.h"
#include "vm_mem/simd_memcpy.h"

namespace vm_mem {
namespace {

using vm_test::range;

std::vector<std::byte> counted(std::size_t bytes, unsigned first = 1) {
  std::vector<std::byte> data(bytes);
  for (std::size_t i = 0; i < bytes; ++i) data[i] = static_cast<std::byte>(first + i);
  return data;
}

AccessResult stopped(AccessFault fault, AccessSide side, std::uint64_t done, std::uint64_t at) {
  return {fault, side, false, done, GuestAddress{at}};
}

class MemoryManagerTest : public testing::Test {
 protected:
  MemoryManager& mm() { return *memory_; }
  RegionId ram(std::uint64_t begin, std::uint64_t bytes, RamOptions options = {}) {
    return mm().add_ram(range(begin, bytes), options).value();
  }
  std::vector<std::byte> content(std::uint64_t from, std::size_t bytes) {
    std::vector<std::byte> data(bytes);
    EXPECT_TRUE(mm().read(GuestAddress{from}, data).ok());
    return data;
  }

 private:
  std::unique_ptr<MemoryManager> memory_ = MemoryManager::create({}).value();
};

TEST_F(MemoryManagerTest, DoesWhatTheDesignsExampleDoes) {
  const GuestAddress base{0x8000'0000};
  auto added = mm().add_ram(*GuestRange::make(base, 64 << 20), {.backing = Backing::kMemfd});
  ASSERT_TRUE(added.ok());
  std::array<std::byte, 4096> page{};
  memset_raw(page.data(), 0x5a, page.size());
  ASSERT_TRUE(mm().write(base, page).ok());
  ASSERT_TRUE(mm().copy_block(GuestAddress{base.value + 8192}, base, 4096).ok());
  std::uint64_t word = 0;
  ASSERT_TRUE(mm().load(GuestAddress{base.value + 8192}, word).ok());
  ASSERT_TRUE(mm().store(base, std::uint32_t{7}).ok());
  const auto hole = mm().read(GuestAddress{0x1000}, page);
  EXPECT_EQ(hole, stopped(AccessFault::kUnmapped, AccessSide::kSource, 0, 0x1000));
  EXPECT_EQ(word, 0x5a5a5a5a5a5a5a5a);
}

TEST_F(MemoryManagerTest, RamReadsAsZeroUntilWritten) {
  for (const Backing backing : {Backing::kAnonymous, Backing::kMemfd}) {
    const std::uint64_t begin = backing == Backing::kMemfd ? 0x10000 : 0x1000;
    ram(begin, 0x2000, {.backing = backing});
    EXPECT_EQ(content(begin, 0x2000), std::vector<std::byte>(0x2000));
    ASSERT_TRUE(mm().write(GuestAddress{begin + 3}, counted(300)).ok());
    EXPECT_EQ(content(begin + 3, 300), counted(300));
  }
}

TEST_F(MemoryManagerTest, RomHoldsItsContentThenZeroAndRefusesWrites) {
  ASSERT_TRUE(mm().add_rom(range(0x1000, 0x1000), counted(100)).ok());
  EXPECT_EQ(content(0x1000, 100), counted(100));
  EXPECT_EQ(content(0x1064, 0xf00), std::vector<std::byte>(0xf00));
  const auto refused = stopped(AccessFault::kReadOnly, AccessSide::kDestination, 0, 0x1000);
  std::uint8_t old = 0;
  bool exchanged = false;
  EXPECT_EQ(mm().write(GuestAddress{0x1000}, counted(8, 50)), refused);
  EXPECT_EQ(mm().fill_block(GuestAddress{0x1000}, std::byte{1}, 8), refused);
  EXPECT_EQ(mm().store(GuestAddress{0x1000}, std::uint64_t{1}), refused);
  EXPECT_EQ(mm().fetch_add(GuestAddress{0x1000}, std::uint8_t{1}, old), refused);
  EXPECT_EQ(mm().compare_exchange(GuestAddress{0x1000}, old, std::uint8_t{1}, exchanged), refused);
  EXPECT_EQ(content(0x1000, 100), counted(100));
}

TEST_F(MemoryManagerTest, AccessesCrossNeighbouringRegions) {
  ram(0x1000, 0x1000);
  ram(0x2000, 0x1000, {.backing = Backing::kMemfd});
  ASSERT_TRUE(mm().write(GuestAddress{0x1fc0}, counted(128)).ok());
  EXPECT_EQ(content(0x1fc0, 128), counted(128));
  std::uint64_t word = 0;
  ASSERT_TRUE(mm().load_le(GuestAddress{0x1ffc}, word).ok());
  EXPECT_EQ(word, 0x44434241403f3e3du);
}

TEST_F(MemoryManagerTest, TheLongestPrefixIsDone) {
  ram(0x1000, 0x1000);
  ASSERT_TRUE(mm().add_rom(range(0x2000, 0x1000), counted(64)).ok());
  EXPECT_EQ(mm().write(GuestAddress{0x1ff0}, counted(64)),
            stopped(AccessFault::kReadOnly, AccessSide::kDestination, 16, 0x2000));
  EXPECT_EQ(content(0x1ff0, 16), counted(16));
  std::vector<std::byte> all(0x3000);
  EXPECT_EQ(mm().read(GuestAddress{0x1000}, all),
            stopped(AccessFault::kUnmapped, AccessSide::kSource, 0x2000, 0x3000));
  EXPECT_EQ(mm().copy_block(GuestAddress{0x1000}, GuestAddress{0x2ff0}, 64),
            stopped(AccessFault::kUnmapped, AccessSide::kSource, 16, 0x3000));
  EXPECT_EQ(mm().copy_block(GuestAddress{0x1ff0}, GuestAddress{0x1000}, 64),
            stopped(AccessFault::kReadOnly, AccessSide::kDestination, 16, 0x2000));
}

TEST_F(MemoryManagerTest, WhereBothSidesStopTheSourceIsNamed) {
  ram(0x1000, 0x1000);
  EXPECT_EQ(mm().copy_block(GuestAddress{0x5000}, GuestAddress{0x3000}, 8),
            stopped(AccessFault::kUnmapped, AccessSide::kSource, 0, 0x3000));
  int order = 9;
  EXPECT_EQ(mm().compare_block(GuestAddress{0x5000}, GuestAddress{0x3000}, 8, order),
            stopped(AccessFault::kUnmapped, AccessSide::kSource, 0, 0x3000));
  EXPECT_EQ(order, 0);
  EXPECT_EQ(mm().compare_block(GuestAddress{0x5000}, GuestAddress{0x1000}, 8, order),
            stopped(AccessFault::kUnmapped, AccessSide::kDestination, 0, 0x5000));
}

TEST_F(MemoryManagerTest, NoBytesSucceedAnywhere) {
  for (const std::uint64_t at : {std::uint64_t{0}, std::uint64_t{0x1234}, UINT64_MAX}) {
    const GuestAddress address{at};
    int order = 5;
    EXPECT_EQ(mm().read(address, {}), AccessResult{});
    EXPECT_EQ(mm().write(address, {}), AccessResult{});
    EXPECT_EQ(mm().copy_block(address, address, 0), AccessResult{});
    EXPECT_EQ(mm().fill_block(address, std::byte{1}, 0), AccessResult{});
    EXPECT_EQ(mm().compare_block(address, address, 0, order), AccessResult{});
    EXPECT_EQ(order, 0);
  }
}

TEST_F(MemoryManagerTest, RangesThatRunPastTheEndOfTheAddressSpaceStopThere) {
  const std::uint64_t last_page = UINT64_MAX - 0x1fff;
  ram(last_page, 0x1000);
  ram(0, 0x1000);
  EXPECT_EQ(mm().write(GuestAddress{last_page + 0xff0}, counted(64)),
            stopped(AccessFault::kUnmapped, AccessSide::kDestination, 16, last_page + 0x1000));
  EXPECT_EQ(mm().fill_block(GuestAddress{0}, std::byte{1}, UINT64_MAX),
            stopped(AccessFault::kUnmapped, AccessSide::kDestination, 0x1000, 0x1000));
  EXPECT_EQ(mm().copy_block(GuestAddress{UINT64_MAX}, GuestAddress{0}, 8),
            stopped(AccessFault::kUnmapped, AccessSide::kDestination, 0, UINT64_MAX));
  std::uint64_t word = 0;
  EXPECT_EQ(mm().load(GuestAddress{UINT64_MAX - 3}, word),
            stopped(AccessFault::kUnmapped, AccessSide::kSource, 0, UINT64_MAX - 3));
  EXPECT_EQ(content(0, 8), std::vector<std::byte>(8, std::byte{1}));
}

TEST_F(MemoryManagerTest, CopyBlockIsMemmoveWithinARegionAndAcross) {
  ram(0x1000, 0x1000);
  ram(0x2000, 0x2000, {.backing = Backing::kMemfd});
  for (const std::uint64_t distance : {1u, 7u, 8u, 64u, 500u}) {
    for (const bool upward : {true, false}) {
      ASSERT_TRUE(mm().write(GuestAddress{0x1c00}, counted(0x800)).ok());
      const GuestAddress to{upward ? 0x1c00 + distance : 0x1c00 - distance};
      ASSERT_TRUE(mm().copy_block(to, GuestAddress{0x1c00}, 0x800).ok());
      EXPECT_EQ(content(to.value, 0x800), counted(0x800)) << distance << " " << upward;
    }
  }
}

TEST_F(MemoryManagerTest, OverlapThroughAnAliasIsMemmove) {
  const RegionId id = ram(0x1000, 0x3000);
  ASSERT_TRUE(mm().add_alias(range(0x10000, 0x3000), id, 0).ok());
  for (const std::int64_t distance : {1, 100, -1, -100}) {
    ASSERT_TRUE(mm().write(GuestAddress{0x1800}, counted(0x1000)).ok());
    const GuestAddress to{0x10800 + static_cast<std::uint64_t>(distance)};
    ASSERT_TRUE(mm().copy_block(to, GuestAddress{0x1800}, 0x1000).ok());
    EXPECT_EQ(content(to.value, 0x1000), counted(0x1000)) << distance;
  }
}

TEST_F(MemoryManagerTest, ACopyThatExchangesPagesThroughAliasesDoes) {
  const RegionId id = ram(0x0, 0x2000);
  ASSERT_TRUE(mm().add_alias(range(0x10000, 0x1000), id, 0x1000).ok());
  ASSERT_TRUE(mm().add_alias(range(0x11000, 0x1000), id, 0x0).ok());
  ASSERT_TRUE(mm().write(GuestAddress{0}, counted(0x1000, 1)).ok());
  ASSERT_TRUE(mm().write(GuestAddress{0x1000}, counted(0x1000, 77)).ok());
  ASSERT_TRUE(mm().copy_block(GuestAddress{0x10000}, GuestAddress{0}, 0x2000).ok());
  EXPECT_EQ(content(0, 0x1000), counted(0x1000, 77));
  EXPECT_EQ(content(0x1000, 0x1000), counted(0x1000, 1));
}

TEST_F(MemoryManagerTest, CompareBlockOrdersAsMemcmp) {
  ram(0x1000, 0x2000);
  ASSERT_TRUE(mm().write(GuestAddress{0x1000}, counted(2000)).ok());
  ASSERT_TRUE(mm().write(GuestAddress{0x2000}, counted(2000)).ok());
  int order = 9;
  EXPECT_TRUE(mm().compare_block(GuestAddress{0x1000}, GuestAddress{0x2000}, 2000, order).ok());
  EXPECT_EQ(order, 0);
  ASSERT_TRUE(mm().store(GuestAddress{0x1000 + 1500}, std::uint8_t{0xff}).ok());
  EXPECT_TRUE(mm().compare_block(GuestAddress{0x1000}, GuestAddress{0x2000}, 2000, order).ok());
  EXPECT_GT(order, 0);
  EXPECT_TRUE(mm().compare_block(GuestAddress{0x2000}, GuestAddress{0x1000}, 2000, order).ok());
  EXPECT_LT(order, 0);
  EXPECT_TRUE(mm().compare_block(GuestAddress{0x2000}, GuestAddress{0x1000}, 1500, order).ok());
  EXPECT_EQ(order, 0);
}

TEST_F(MemoryManagerTest, TypedAccessInNamedByteOrders) {
  ram(0x1000, 0x1000);
  ASSERT_TRUE(mm().store_be(GuestAddress{0x1000}, std::uint32_t{0x01020304}).ok());
  EXPECT_EQ(content(0x1000, 4), counted(4));
  ASSERT_TRUE(mm().store_le(GuestAddress{0x1008}, std::uint16_t{0x0201}).ok());
  EXPECT_EQ(content(0x1008, 2), counted(2));
  std::uint32_t big = 0;
  std::uint32_t little = 0;
  ASSERT_TRUE(mm().load_be(GuestAddress{0x1000}, big).ok());
  ASSERT_TRUE(mm().load_le(GuestAddress{0x1000}, little).ok());
  EXPECT_EQ(big, 0x01020304u);
  EXPECT_EQ(little, 0x04030201u);
}

TEST_F(MemoryManagerTest, ReadModifyWritesRefuseWhatTheyCannotDoAtomically) {
  ram(0x1000, 0x1000);
  ScriptedDevice device;
  ASSERT_TRUE(mm().add_mmio(range(0x2000, 0x1000), &device).ok());
  std::uint32_t old = 9;
  EXPECT_EQ(mm().fetch_add(GuestAddress{0x1002}, 1u, old),
            stopped(AccessFault::kMisaligned, AccessSide::kDestination, 0, 0x1002));
  EXPECT_EQ(mm().exchange(GuestAddress{0x2000}, 1u, old),
            stopped(AccessFault::kProtected, AccessSide::kDestination, 0, 0x2000));
  EXPECT_EQ(mm().fetch_or(GuestAddress{0x5000}, 1u, old),
            stopped(AccessFault::kUnmapped, AccessSide::kDestination, 0, 0x5000));
  EXPECT_EQ(old, 9u);
  EXPECT_TRUE(device.log().empty());
}

TEST_F(MemoryManagerTest, MmioIsCutIntoAlignedElements) {
  ScriptedDevice device;
  ASSERT_TRUE(mm().add_mmio(range(0x1000, 0x1000), &device).ok());
  ASSERT_TRUE(mm().write(GuestAddress{0x1001}, counted(14)).ok());
  std::vector<std::pair<std::uint64_t, unsigned>> elements;
  for (const DeviceAccess& access : device.log()) elements.emplace_back(access.offset, access.size);
  EXPECT_EQ(elements, (std::vector<std::pair<std::uint64_t, unsigned>>{
                          {1, 1}, {2, 2}, {4, 4}, {8, 4}, {12, 2}, {14, 1}}));
  EXPECT_EQ(device.log()[2].value, 0x07060504u);
}

TEST_F(MemoryManagerTest, ADeviceThatRefusesStopsTheAccessThere) {
  ram(0x1000, 0x1000);
  ScriptedDevice device;
  ASSERT_TRUE(mm().add_mmio(range(0x2000, 0x1000), &device).ok());
  device.refuse(0x10, AccessFault::kBusy);
  EXPECT_EQ(mm().write(GuestAddress{0x1ff8}, counted(64)),
            stopped(AccessFault::kBusy, AccessSide::kDestination, 24, 0x2010));
  EXPECT_EQ(device.log().size(), 3u);
  EXPECT_EQ(mm().copy_block(GuestAddress{0x1000}, GuestAddress{0x2000}, 64),
            stopped(AccessFault::kBusy, AccessSide::kSource, 16, 0x2010));
}

TEST_F(MemoryManagerTest, DirtyPagesAreThoseWrittenThroughAnyWindow) {
  const RegionId id = ram(0x10000, 0x8000, {.dirty_tracking = DirtyTracking::kOn});
  ASSERT_TRUE(mm().add_alias(range(0x40000, 0x2000), id, 0x6000).ok());
  EXPECT_EQ(mm().dirty_page_count(id).value(), 0u);
  ASSERT_TRUE(mm().write(GuestAddress{0x10fff}, counted(2)).ok());
  EXPECT_EQ(mm().dirty_page_count(id).value(), 2u);
  ASSERT_TRUE(mm().store(GuestAddress{0x40000}, std::uint8_t{1}).ok());
  EXPECT_EQ(mm().dirty_page_count(id).value(), 3u);
  std::uint64_t old = 0;
  ASSERT_TRUE(mm().fetch_add(GuestAddress{0x13000}, std::uint64_t{1}, old).ok());
  EXPECT_EQ(mm().dirty_page_count(id).value(), 4u);
  ASSERT_TRUE(mm().copy_block(GuestAddress{0x14000}, GuestAddress{0x10000}, 4096).ok());
  ASSERT_TRUE(mm().fill_block(GuestAddress{0x15000}, std::byte{1}, 1).ok());
  EXPECT_EQ(mm().dirty_page_count(id).value(), 6u);
  std::vector<std::byte> buffer(4096);
  ASSERT_TRUE(mm().read(GuestAddress{0x12000}, buffer).ok());
  EXPECT_EQ(mm().dirty_page_count(id).value(), 6u);
}

TEST_F(MemoryManagerTest, AMemfdRegionsDescriptorShowsTheGuestsBytes) {
  const RegionId id = ram(0x1000, 0x1000, {.backing = Backing::kMemfd});
  ASSERT_TRUE(mm().write(GuestAddress{0x1000}, counted(64)).ok());
  void* view = ::mmap(nullptr, 4096, PROT_READ, MAP_SHARED, mm().region_fd(id).value(), 0);
  ASSERT_NE(view, MAP_FAILED);
  EXPECT_EQ(memcmp_raw(view, counted(64).data(), 64), 0);
  ::munmap(view, 4096);
}

}  // namespace
}  // namespace vm_mem
