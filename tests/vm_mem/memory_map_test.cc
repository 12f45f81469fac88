#include "vm_mem/memory_map.h"

#include <gtest/gtest.h>

#include <array>

namespace vm_mem {
namespace {

MapSection section(std::uint64_t begin, std::uint64_t bytes, std::byte* host = nullptr) {
  MapSection section;
  section.range = GuestRange::make(GuestAddress{begin}, bytes).value();
  section.region = RegionId{begin};
  section.host = host;
  return section;
}

const MapSection* find(const MemoryMap& map, std::uint64_t address) {
  return map.find(GuestAddress{address});
}

TEST(MemoryMapTest, AnEmptyMapHoldsNothing) {
  const MemoryMap map;
  EXPECT_EQ(map.generation(), 0u);
  EXPECT_TRUE(map.sections().empty());
  EXPECT_EQ(find(map, 0), nullptr);
  EXPECT_EQ(find(map, UINT64_MAX), nullptr);
}

TEST(MemoryMapTest, FindsTheSectionThatHoldsAnAddress) {
  const MemoryMap map({section(0x1000, 0x1000), section(0x2000, 0x2000), section(0x8000, 0x1000)},
                      7);
  EXPECT_EQ(map.generation(), 7u);
  EXPECT_EQ(find(map, 0xfff), nullptr);
  EXPECT_EQ(find(map, 0x1000)->region, RegionId{0x1000});
  EXPECT_EQ(find(map, 0x1fff)->region, RegionId{0x1000});
  EXPECT_EQ(find(map, 0x2000)->region, RegionId{0x2000});
  EXPECT_EQ(find(map, 0x3fff)->region, RegionId{0x2000});
  EXPECT_EQ(find(map, 0x4000), nullptr);
  EXPECT_EQ(find(map, 0x8fff)->region, RegionId{0x8000});
  EXPECT_EQ(find(map, 0x9000), nullptr);
}

TEST(MemoryMapTest, FindsSectionsAtBothEndsOfTheAddressSpace) {
  const MemoryMap map({section(0, 0x1000), section(UINT64_MAX - 0x1fff, 0x1000)}, 1);
  EXPECT_EQ(find(map, 0)->region, RegionId{0});
  EXPECT_NE(find(map, UINT64_MAX - 0x1000), nullptr);
  EXPECT_EQ(find(map, UINT64_MAX - 0xfff), nullptr);
}

TEST(MemoryMapTest, NextIsTheNeighbourOnly) {
  const MemoryMap map({section(0x1000, 0x1000), section(0x2000, 0x1000), section(0x4000, 0x1000)},
                      1);
  const auto sections = map.sections();
  EXPECT_EQ(map.next(sections[0]), &sections[1]);
  EXPECT_EQ(map.next(sections[1]), nullptr);
  EXPECT_EQ(map.next(sections[2]), nullptr);
}

TEST(MemoryMapTest, KnowsWhetherMemoryIsShownTwice) {
  static std::array<std::byte, 0x3000> host;
  EXPECT_FALSE(MemoryMap({section(0x1000, 0x1000, &host[0]), section(0x2000, 0x1000, &host[0x1000]),
                          section(0x3000, 0x1000), section(0x4000, 0x1000)},
                         1)
                   .has_aliases());
  EXPECT_TRUE(
      MemoryMap({section(0x1000, 0x2000, &host[0]), section(0x3000, 0x1000, &host[0x1000])}, 1)
          .has_aliases());
}

}  // namespace
}  // namespace vm_mem
