#include "vm_mem/granule_table.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <random>
#include <vector>

#include "vm_mem/dirty_log.h"
#include "vm_mem/memory_map.h"

namespace vm_mem {
namespace {

constexpr std::uint64_t kPage = 4096;
constexpr std::uint64_t kBlock = std::uint64_t{1} << BlockIndex::kBlockShift;

// Nothing here is accessed: the address stands for itself.
std::byte* host_of(std::uint64_t address) { return reinterpret_cast<std::byte*>(address + kPage); }

MapSection memory(std::uint64_t begin, std::uint64_t bytes) {
  MapSection section;
  section.range = GuestRange::make(GuestAddress{begin}, bytes).value();
  section.host = host_of(begin);
  return section;
}

bool loads(const GranuleTable& table, std::uint64_t address) {
  const MapSlot& slot = table.slot_at(address);
  return slot.loads(address - slot.begin, 1);
}

std::vector<std::uint64_t> edges_of(const std::vector<MapSection>& sections) {
  std::vector<std::uint64_t> addresses{0, 1, ~std::uint64_t{0}};
  for (const MapSection& section : sections) {
    for (const std::uint64_t edge : {section.range.begin().value, section.range.end().value}) {
      for (const std::uint64_t distance : {std::uint64_t{0}, std::uint64_t{1}, kPage, kBlock}) {
        addresses.push_back(edge + distance);
        addresses.push_back(edge - distance);
      }
    }
    addresses.push_back(section.range.begin().value + section.range.bytes() / 2);
  }
  return addresses;
}

// The table against a search of the sections.
void expect_finds(const GranuleTable& table, const std::vector<MapSection>& sections) {
  for (const std::uint64_t address : edges_of(sections)) {
    const auto holder = std::find_if(sections.begin(), sections.end(), [&](const auto& section) {
      return section.range.contains(GuestAddress{address});
    });
    ASSERT_EQ(loads(table, address), holder != sections.end()) << std::hex << address;
    if (holder == sections.end()) continue;
    const MapSlot& slot = table.slot_at(address);
    EXPECT_EQ(slot.begin, holder->range.begin().value);
    EXPECT_EQ(slot.host, holder->host);
    EXPECT_EQ(slot.storable[0], holder->range.bytes());
  }
}

// Non-overlapping, in order: `count` sections with gaps of up to `gap` pages.
std::vector<MapSection> random_sections(std::mt19937_64& random, int count, std::uint64_t pages,
                                        std::uint64_t gap) {
  std::vector<MapSection> sections;
  std::uint64_t at = random() % gap * kPage;
  for (int i = 0; i < count; ++i) {
    const std::uint64_t bytes = (1 + random() % pages) * kPage;
    sections.push_back(memory(at, bytes));
    at += bytes + random() % gap * kPage;
  }
  return sections;
}

TEST(GranuleTableTest, EverywhereIsOutOfBoundsInAnEmptyTable) {
  const GranuleTable table;
  for (const std::uint64_t address : {std::uint64_t{0}, kPage, kBlock, ~std::uint64_t{0}}) {
    EXPECT_FALSE(loads(table, address));
    EXPECT_TRUE(table.slot_at(address).is_marked(0));
  }
}

TEST(GranuleTableTest, FindsSectionsOfEverySizeAndDistance) {
  std::mt19937_64 random(1);
  for (const std::uint64_t pages : {1u, 3u, 600u, 40'000u}) {
    for (const std::uint64_t gap : {1u, 2u, 700u, 100'000u}) {
      const auto sections = random_sections(random, 60, pages, gap);
      expect_finds(GranuleTable(sections, nullptr), sections);
    }
  }
}

TEST(GranuleTableTest, FindsFourThousandPagesSideBySide) {
  std::vector<MapSection> sections;
  for (std::uint64_t i = 0; i < 4096; ++i) sections.push_back(memory(i * kPage, kPage));
  expect_finds(GranuleTable(sections, nullptr), sections);
}

TEST(GranuleTableTest, FindsWindowsScatteredOver52BitsAndAtTheTop) {
  std::mt19937_64 random(2);
  for (int round = 0; round < 20; ++round) {
    std::vector<std::uint64_t> begins{0, ~std::uint64_t{0} - 2 * kPage + 1};
    for (int i = 0; i < 200; ++i) begins.push_back((random() >> 12) & ~(kBlock - 1));
    std::sort(begins.begin(), begins.end());
    begins.erase(std::unique(begins.begin(), begins.end()), begins.end());
    std::vector<MapSection> sections;
    for (const std::uint64_t begin : begins) sections.push_back(memory(begin, kPage));
    expect_finds(GranuleTable(sections, nullptr), sections);
  }
}

TEST(GranuleTableTest, SharesWithThePreviousTableWhatHasNotChanged) {
  std::vector<MapSection> sections{memory(0, kPage), memory(2 * kPage, kPage),
                                   memory(kBlock, kBlock), memory(4 * kBlock, kPage)};
  const GranuleTable before(sections, nullptr);
  sections[3] = memory(5 * kBlock, kPage);
  const GranuleTable after(sections, &before);
  expect_finds(after, sections);
  EXPECT_EQ(&before.slot_at(0), &after.slot_at(0));
  EXPECT_EQ(&before.slot_at(kBlock), &after.slot_at(kBlock));
  // One of a block's sections changes its host memory.
  sections[1].host += kPage;
  const GranuleTable last(sections, &after);
  expect_finds(last, sections);
  EXPECT_EQ(&after.slot_at(0), &last.slot_at(0));
  EXPECT_NE(&after.slot_at(2 * kPage), &last.slot_at(2 * kPage));
}

TEST(GranuleTableTest, OutlivesTheTableItSharesWith) {
  std::vector<MapSection> sections{memory(0, kPage), memory(2 * kPage, kPage)};
  auto first = std::make_unique<GranuleTable>(sections, nullptr);
  sections.push_back(memory(kBlock, kPage));
  const GranuleTable second(sections, first.get());
  first.reset();
  expect_finds(second, sections);
}

TEST(GranuleTableTest, OnlyWhatMayBeAccessedInPlaceHasALimit) {
  MapSection device = memory(0, kPage);
  device.kind = RegionKind::kMmio;
  device.host = nullptr;
  MapSection rom = memory(kPage, kPage);
  rom.kind = RegionKind::kRom;
  MapSection read_only = memory(2 * kPage, kPage);
  read_only.protection = Protection::kRead;
  MapSection hidden = memory(3 * kPage, kPage);
  hidden.protection = Protection::kNone;
  MapSection file = memory(4 * kPage, kPage);
  file.recoverable = true;
  const GranuleTable table(std::vector{device, rom, read_only, hidden, file}, nullptr);
  const auto expect = [&](std::uint64_t page, bool loads, bool stores) {
    const MapSlot& slot = table.slot_at(page * kPage);
    EXPECT_EQ(slot.loads(page * kPage - slot.begin, 8), loads) << page;
    EXPECT_EQ(slot.stores(page * kPage - slot.begin, 8), stores) << page;
  };
  expect(0, false, false);
  expect(1, true, false);
  expect(2, true, false);
  expect(3, false, false);
  expect(4, false, false);
}

TEST(GranuleTableTest, ARangeIsBoundedAtBothEnds) {
  const std::vector<MapSection> sections{memory(kPage, kPage)};
  const GranuleTable table(sections, nullptr);
  const MapSlot& slot = table.slot_at(kPage);
  EXPECT_TRUE(slot.loads(0, kPage));
  EXPECT_FALSE(slot.loads(0, kPage + 1));
  EXPECT_FALSE(slot.loads(1, kPage));
  EXPECT_FALSE(slot.loads(1, ~std::uint64_t{0}));
  EXPECT_FALSE(slot.loads(~std::uint64_t{0}, 1));
}

TEST(GranuleTableTest, ShowsTheMarksOfItsPages) {
  DirtyLog log(8 * kPage);
  MapSection section = memory(0x10 * kPage, 4 * kPage);
  section.dirty_log = &log;
  section.region_offset = 2 * kPage;
  const GranuleTable table(std::vector{section}, nullptr);
  const MapSlot& slot = table.slot_at(0x10 * kPage);
  EXPECT_FALSE(slot.is_marked(1));
  log.mark(3 * kPage, 1);
  EXPECT_TRUE(slot.is_marked(1));
  EXPECT_FALSE(slot.is_marked(0));
}

}  // namespace
}  // namespace vm_mem
