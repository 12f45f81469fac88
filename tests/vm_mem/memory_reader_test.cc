#include "vm_mem/memory_reader.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <vector>

#include "tests/support/guest_range.h"
#include "vm_mem/memory_manager.h"

namespace vm_mem {
namespace {

using vm_test::range;

// A device whose registers run code of the test.
class ActingDevice : public MmioHandler {
 public:
  explicit ActingDevice(std::function<void()> action) : action_(std::move(action)) {}
  AccessFault mmio_read(std::uint64_t, unsigned, std::uint64_t& value) override {
    action_();
    value = 0;
    return AccessFault::kNone;
  }
  AccessFault mmio_write(std::uint64_t, unsigned, std::uint64_t) override {
    action_();
    return AccessFault::kNone;
  }

 private:
  std::function<void()> action_;
};

class MemoryReaderTest : public testing::Test {
 protected:
  MemoryManager& mm() { return *memory_; }
  MemoryReader& reader() { return reader_; }

 private:
  std::unique_ptr<MemoryManager> memory_ = MemoryManager::create({}).value();
  MemoryReader reader_{*memory_};
};

TEST_F(MemoryReaderTest, SeesEveryChangeOfTheMap) {
  std::vector<std::byte> buffer(8, std::byte{3});
  EXPECT_EQ(reader().write(GuestAddress{0x1000}, buffer).fault, AccessFault::kUnmapped);
  const RegionId id = mm().add_ram(range(0x1000, 0x1000)).value();
  EXPECT_TRUE(reader().write(GuestAddress{0x1000}, buffer).ok());
  EXPECT_TRUE(reader().copy_block(GuestAddress{0x1100}, GuestAddress{0x1000}, 8).ok());
  EXPECT_TRUE(reader().fill_block(GuestAddress{0x1000}, std::byte{0}, 8).ok());
  std::vector<std::byte> back(8);
  EXPECT_TRUE(reader().read(GuestAddress{0x1100}, back).ok());
  EXPECT_EQ(back, buffer);
  ASSERT_TRUE(mm().remove_region(id, RemovePolicy::kRefuse).ok());
  EXPECT_EQ(reader().read(GuestAddress{0x1100}, back).fault, AccessFault::kUnmapped);
}

TEST_F(MemoryReaderTest, LoadsStoresAndComparesAsTheManagerDoes) {
  ASSERT_TRUE(mm().add_ram(range(0x1000, 0x1000)).ok());
  EXPECT_TRUE(reader().store(GuestAddress{0x1008}, std::uint32_t{0x11223344}).ok());
  std::uint32_t word = 0;
  EXPECT_TRUE(mm().load(GuestAddress{0x1008}, word).ok());
  EXPECT_EQ(word, 0x11223344u);
  std::uint16_t half = 0;
  EXPECT_TRUE(reader().load(GuestAddress{0x1009}, half).ok());
  std::uint16_t the_managers = 0;
  EXPECT_TRUE(mm().load(GuestAddress{0x1009}, the_managers).ok());
  EXPECT_EQ(half, the_managers);
  int order = 0;
  EXPECT_TRUE(reader().compare_block(GuestAddress{0x1008}, GuestAddress{0x1010}, 8, order).ok());
  EXPECT_GT(order, 0);

  std::uint64_t past_the_end = 5;
  const AccessResult result = reader().load(GuestAddress{0x1ffc}, past_the_end);
  EXPECT_EQ(result, mm().load(GuestAddress{0x1ffc}, past_the_end));
  EXPECT_EQ(result.at, GuestAddress{0x2000});
  EXPECT_EQ(past_the_end, 5u);
}

TEST_F(MemoryReaderTest, TriesOnlyWhatOneSectionOfOrdinaryMemoryHas) {
  const RegionId ram =
      mm().add_ram(range(0x1000, 0x1000), {.dirty_tracking = DirtyTracking::kOn}).value();
  ASSERT_TRUE(mm().add_rom(range(0x2000, 0x1000), {}).ok());
  std::vector<std::byte> bytes(16, std::byte{9});
  EXPECT_FALSE(reader().try_write(GuestAddress{0x1ff0}, bytes));  // it has no map yet
  ASSERT_TRUE(reader().read(GuestAddress{0x1ff0}, bytes).ok());
  bytes.assign(16, std::byte{9});
  EXPECT_TRUE(reader().try_write(GuestAddress{0x1ff0}, bytes));
  EXPECT_EQ(*mm().dirty_page_count(ram), 1u);
  std::vector<std::byte> back(16);
  EXPECT_TRUE(reader().try_read(GuestAddress{0x1ff0}, back));
  EXPECT_EQ(back, bytes);
  EXPECT_FALSE(reader().try_write(GuestAddress{0x1ff1}, bytes));
  EXPECT_FALSE(reader().try_write(GuestAddress{0x2000}, bytes));
  EXPECT_TRUE(reader().try_read(GuestAddress{0x2000}, back));
  EXPECT_FALSE(reader().try_read(GuestAddress{0x2ff1}, back));
  EXPECT_FALSE(reader().try_read(GuestAddress{0x8000}, back));
  EXPECT_FALSE(reader().try_write(GuestAddress{0x1ff0}, {}));
}

TEST_F(MemoryReaderTest, TriesReachEverySectionInAnyOrder) {
  constexpr std::uint64_t kBases[] = {0x1000, 0x8000, 0x1'0000'0000, 0x9'0000'0000};
  for (const std::uint64_t base : kBases) ASSERT_TRUE(mm().add_ram(range(base, 0x3000)).ok());
  reader().map();
  for (unsigned step = 0; step < 64; ++step) {
    const std::uint64_t base = kBases[(step * step + step / 4) % 4];
    const std::vector<std::byte> bytes(step % 3 == 0 ? 0x2000 : 8, static_cast<std::byte>(step));
    ASSERT_TRUE(reader().try_write(GuestAddress{base + 16}, bytes)) << step;
    std::vector<std::byte> back(bytes.size());
    ASSERT_TRUE(mm().read(GuestAddress{base + 16}, back).ok());
    ASSERT_EQ(back, bytes);
    ASSERT_TRUE(reader().try_read(GuestAddress{base + 16}, back)) << step;
    ASSERT_EQ(back, bytes);
    ASSERT_FALSE(reader().try_read(GuestAddress{base + 0x3000}, back)) << step;
  }
}

TEST_F(MemoryReaderTest, TriesForgetWhatTheyFoundWithTheMap) {
  std::vector<std::byte> bytes(8);
  for (unsigned turn = 0; turn < 50; ++turn) {
    std::ranges::fill(bytes, static_cast<std::byte>(turn));
    const RegionId id = mm().add_ram(range(0x1000, 0x1000)).value();
    ASSERT_TRUE(mm().write(GuestAddress{0x1000}, bytes).ok());
    if (turn % 3 == 0) reader().park();
    EXPECT_FALSE(reader().try_read(GuestAddress{0x1000}, bytes)) << "of a map that has gone";
    reader().map();
    std::vector<std::byte> back(8);
    ASSERT_TRUE(reader().try_read(GuestAddress{0x1000}, back));
    ASSERT_EQ(back, bytes);
    ASSERT_TRUE(reader().try_write(GuestAddress{0x1000}, bytes));
    ASSERT_TRUE(mm().set_protection(id, Protection::kRead).ok());
    reader().map();
    EXPECT_TRUE(reader().try_read(GuestAddress{0x1000}, back));
    EXPECT_FALSE(reader().try_write(GuestAddress{0x1000}, bytes));
    ASSERT_TRUE(mm().remove_region(id, RemovePolicy::kRefuse).ok());
    EXPECT_FALSE(reader().try_read(GuestAddress{0x1000}, back));
    reader().map();
    EXPECT_FALSE(reader().try_read(GuestAddress{0x1000}, back));
  }
}

TEST_F(MemoryReaderTest, ATriedWriteMarksEveryPageItTouches) {
  const RegionId id =
      mm().add_ram(range(0x10000, 0x10000), {.dirty_tracking = DirtyTracking::kOn}).value();
  const DirtyClient client = mm().add_dirty_client("test").value();
  reader().map();
  struct Case {
    std::uint64_t offset, bytes, pages;
  };
  DirtyPages dirty;
  for (const Case& it :
       {Case{0, 1, 1}, Case{0xfff, 1, 1}, Case{0xfff, 2, 2}, Case{0x1800, 0x1000, 2},
        Case{0x2001, 0x1000, 2}, Case{0x3fff, 0x1002, 3}, Case{0, 0x10000, 16}}) {
    const std::vector<std::byte> bytes(it.bytes);
    for (int again = 0; again < 2; ++again) {
      ASSERT_TRUE(reader().try_write(GuestAddress{0x10000 + it.offset}, bytes));
      ASSERT_TRUE(mm().harvest_dirty(client, id, dirty).ok());
      EXPECT_EQ(dirty.page_count(), it.pages) << it.offset;
      EXPECT_TRUE(dirty.is_dirty((it.offset + it.bytes - 1) / 0x1000)) << it.offset;
    }
  }
}

TEST_F(MemoryReaderTest, AListMarksEveryPageItTouches) {
  const RegionId id =
      mm().add_ram(range(0x10000, 0x10000), {.dirty_tracking = DirtyTracking::kOn}).value();
  const DirtyClient client = mm().add_dirty_client("test").value();
  reader().map();
  const std::vector<AddressRun> list{{0x10000, 64}, {0x12ff8, 64},   {0x15000, 24},
                                     {0x17fff, 2},  {0x19008, 4096}, {0x1c000, 64}};
  const std::vector<std::byte> bytes(64 + 64 + 24 + 2 + 4096 + 32, std::byte{7});
  DirtyPages dirty;
  for (int again = 0; again < 3; ++again) {
    std::span<const std::byte> from(bytes);
    ASSERT_EQ(reader().try_write(list, from), list.size());  // the last in part
    EXPECT_TRUE(from.empty());
    ASSERT_TRUE(mm().harvest_dirty(client, id, dirty).ok());
    EXPECT_EQ(dirty.page_count(), 9u);
    for (const unsigned page : {0u, 2u, 3u, 5u, 7u, 8u, 9u, 10u, 12u})
      EXPECT_TRUE(dirty.is_dirty(page));
  }
  std::byte behind{};
  ASSERT_TRUE(mm().read(GuestAddress{0x1c020}, std::span(&behind, 1)).ok());
  EXPECT_EQ(behind, std::byte{0});
}

TEST_F(MemoryReaderTest, AListStopsAtTheFirstRunThatIsRefused) {
  const RegionId id = mm().add_ram(range(0x1000, 0x1000)).value();
  ASSERT_TRUE(mm().add_ram(range(0x1'0000'0000, 0x1000)).ok());
  reader().map();
  std::vector<std::byte> bytes(2048);
  struct Case {
    AddressRun refused;
    const char* what;
  };
  for (const Case& it : {Case{{0x1fc8, 64}, "beyond the end"},
                         {{0x2000, 64}, "at the end"},
                         {{0xfc0, 64}, "before"},
                         {{UINT64_MAX - 7, 64}, "at the top"},
                         {{UINT64_MAX, 64}, "at the top, not aligned"},
                         {{0x1d00, 0x301}, "long"}}) {
    const std::vector<AddressRun> list{{0x1000, 64}, {0x1'0000'0040, 64}, {0x1004, 64}, {0x8000, 0},
                                       {0x1fc0, 64}, it.refused,          {0x1000, 64}};
    std::span<std::byte> to(bytes);
    EXPECT_EQ(reader().try_read(list, to), 5u) << it.what;
    EXPECT_EQ(to.size(), bytes.size() - 256) << it.what;
  }
  const std::vector<AddressRun> list(3, {0x1040, 64});
  std::span<std::byte> to(bytes);
  EXPECT_EQ(reader().try_read(list, to), 3u);
  ASSERT_TRUE(mm().remove_region(id, RemovePolicy::kRefuse).ok());
  EXPECT_EQ(reader().try_read(list, to), 0u) << "of a map that has gone";
  reader().map();
  EXPECT_EQ(reader().try_read(list, to), 0u);
}

TEST_F(MemoryReaderTest, KeepsTheSameMapWhileNothingChanges) {
  ASSERT_TRUE(mm().add_ram(range(0x1000, 0x1000)).ok());
  const MemoryMap* map = &reader().map();
  EXPECT_EQ(&reader().map(), map);
  EXPECT_EQ(map, mm().map().get());
}

TEST_F(MemoryReaderTest, HoldsRemovedMemoryUntilItIsParked) {
  const RegionId id = mm().add_ram(range(0x1000, 0x1000)).value();
  const std::weak_ptr<const void> memory = reader().map().sections()[0].owner;
  ASSERT_TRUE(mm().remove_region(id, RemovePolicy::kRefuse).ok());
  EXPECT_FALSE(memory.expired());
  reader().park();
  EXPECT_TRUE(memory.expired());
}

TEST_F(MemoryReaderTest, ParkedItDoesNotHoldUpARemoval) {
  const RegionId id = mm().add_ram(range(0x1000, 0x1000)).value();
  reader().map();
  reader().park();
  EXPECT_TRUE(mm().remove_region(id, RemovePolicy::kWait).ok());
}

TEST_F(MemoryReaderTest, ADeviceMayComeBackToItAndChangeTheMap) {
  ASSERT_TRUE(mm().add_ram(range(0x1000, 0x1000)).ok());
  ASSERT_TRUE(mm().add_ram(range(0x3000, 0x1000)).ok());
  std::vector<std::byte> nested(4096);
  std::uint64_t added = 0x10000;
  ActingDevice device([&] {
    ASSERT_TRUE(mm().add_ram(range(added, 0x1000)).ok());
    EXPECT_NE(reader().map().find(GuestAddress{added}), nullptr);
    added += 0x1000;
    EXPECT_TRUE(reader().read(GuestAddress{0x1000}, nested).ok());
    reader().park();
  });
  ASSERT_TRUE(mm().add_mmio(range(0x2000, 0x1000), &device).ok());
  std::vector<std::byte> buffer(0x2010, std::byte{1});
  EXPECT_EQ(reader().write(GuestAddress{0x1ff8}, {buffer.data(), 0x1018}).done, 0x1018u);
  EXPECT_EQ(mm().map()->sections().size(), 3u + 0x1000 / 8);
}

// Every place where the quick path must give way to the other one.
TEST_F(MemoryReaderTest, LoadsAndStoresAsTheManagerDoesAtEveryOffset) {
  ASSERT_TRUE(mm().add_ram(range(0x1000, 0x1000)).ok());
  ASSERT_TRUE(mm().add_ram(range(0x2000, 0x1000), {.dirty_tracking = DirtyTracking::kOn}).ok());
  ASSERT_TRUE(mm().add_rom(range(0x3000, 0x1000), {}).ok());
  const auto try_at = [&](auto word, std::uint64_t address) {
    const GuestAddress at{address};
    const AccessResult stored = reader().store(at, word);
    auto found = word;
    EXPECT_EQ(mm().load(at, found).done, reader().load(at, word).done) << std::hex << address;
    EXPECT_TRUE(!stored.ok() || found == word);
    EXPECT_EQ(mm().store(at, found), stored) << std::hex << address;
  };
  for (const std::uint64_t edge : {0x1000u, 0x2000u, 0x3000u, 0x4000u}) {
    for (std::uint64_t at = edge - 17; at < edge + 17; ++at) {
      try_at(static_cast<std::uint8_t>(at * 7), at);
      try_at(static_cast<std::uint16_t>(at * 771), at);
      try_at(static_cast<std::uint32_t>(at * 7'171'717), at);
      try_at(at * 0x1234'5678'9abc'def1, at);
    }
  }
}

TEST_F(MemoryReaderTest, AStoreMarksItsPageOnce) {
  const RegionId id =
      mm().add_ram(range(0, 0x4000), {.dirty_tracking = DirtyTracking::kOn}).value();
  ASSERT_TRUE(reader().store(GuestAddress{0x1ff8}, std::uint64_t{1}).ok());
  EXPECT_EQ(mm().dirty_page_count(id).value(), 1u);
  ASSERT_TRUE(reader().store(GuestAddress{0x1000}, std::uint8_t{1}).ok());
  EXPECT_EQ(mm().dirty_page_count(id).value(), 1u);
  ASSERT_TRUE(reader().store(GuestAddress{0x1ffc}, std::uint64_t{1}).ok());  // unaligned
  EXPECT_EQ(mm().dirty_page_count(id).value(), 2u);
}

TEST_F(MemoryReaderTest, ModifiesWordsAndReadsBothByteOrders) {
  ASSERT_TRUE(mm().add_ram(range(0x1000, 0x1000)).ok());
  const GuestAddress at{0x1008};
  ASSERT_TRUE(reader().store_be(at, std::uint32_t{0x01020304}).ok());
  std::uint32_t word = 0;
  EXPECT_TRUE(reader().load_le(at, word).ok());
  EXPECT_EQ(word, 0x04030201u);
  EXPECT_TRUE(reader().load_be(at, word).ok());
  EXPECT_EQ(word, 0x01020304u);
  std::uint32_t previous = 0;
  EXPECT_TRUE(reader().exchange(at, std::uint32_t{5}, previous).ok());
  EXPECT_TRUE(reader().fetch_add(at, std::uint32_t{2}, previous).ok());
  EXPECT_EQ(previous, 5u);
  std::uint32_t expected = 7;
  bool exchanged = false;
  EXPECT_TRUE(reader().compare_exchange(at, expected, std::uint32_t{9}, exchanged).ok());
  EXPECT_TRUE(exchanged);
  EXPECT_EQ(reader().fetch_or(GuestAddress{0x1001}, std::uint32_t{1}, previous).fault,
            AccessFault::kMisaligned);
}

TEST_F(MemoryReaderTest, CountsByRouteAndKeepsTheCountWhenItGoes) {
  ASSERT_TRUE(mm().add_ram(range(0x1000, 0x1000)).ok());
  std::vector<std::byte> buffer(kUncountedBytes + 8);
  const auto bytes = [&] {
    const Statistics statistics = mm().statistics();
    return statistics.at(Route::kDma, CopyPath::kInline).bytes +
           statistics.at(Route::kDma, CopyPath::kVector).bytes;
  };
  {
    MemoryReader dma(mm(), Route::kDma);
    EXPECT_TRUE(dma.read(GuestAddress{0x1000}, buffer).ok());
    EXPECT_TRUE(dma.write(GuestAddress{0x1000}, buffer).ok());
    EXPECT_EQ(bytes(), 2 * buffer.size());
    EXPECT_TRUE(dma.read(GuestAddress{0x1000}, std::span(buffer).first(kUncountedBytes)).ok());
    EXPECT_EQ(bytes(), 2 * buffer.size());
  }
  EXPECT_EQ(bytes(), 2 * buffer.size());
}

}  // namespace
}  // namespace vm_mem
