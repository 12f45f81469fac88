#include "bench/vm_mem/suite/guest_memory.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <set>

namespace vm_bench {
namespace {

constexpr std::array<PeerRange, 2> kRanges = {{{0x1000, 0x100}, {0x8000, 0x100}}};

TEST(GuestMemoryTest, AddressesLeaveRoomForTheirBytesInOneRange) {
  const auto addresses = random_addresses(kRanges, 2000, 24, 8, 1);
  ASSERT_EQ(addresses.size(), 2000U);
  for (const std::uint64_t at : addresses) {
    EXPECT_EQ(at % 8, 0U);
    const auto holds = [at](const PeerRange& range) {
      return at >= range.base && at + 24 <= range.base + range.bytes;
    };
    EXPECT_TRUE(std::ranges::any_of(kRanges, holds)) << at;
  }
}

TEST(GuestMemoryTest, AddressesReachEveryPlaceOfEveryRange) {
  const auto addresses = random_addresses(kRanges, 5000, 0x80, 0x10, 1);
  const std::set<std::uint64_t> seen(addresses.begin(), addresses.end());
  EXPECT_EQ(seen.size(), 2 * (0x80 / 0x10 + 1));
}

TEST(GuestMemoryTest, TheSeedDecides) {
  EXPECT_EQ(random_addresses(kRanges, 50, 8, 8, 3), random_addresses(kRanges, 50, 8, 8, 3));
  EXPECT_NE(random_addresses(kRanges, 50, 8, 8, 3), random_addresses(kRanges, 50, 8, 8, 4));
}

TEST(GuestMemoryTest, TheManagerHasTheRangesAndTracksWhereAsked) {
  for (const Tracked tracked : {Tracked::kNo, Tracked::kYes}) {
    const auto manager = make_manager(two_regions(), tracked);
    const auto map = manager->map();
    ASSERT_EQ(map->sections().size(), two_regions().size());
    for (std::size_t i = 0; i < two_regions().size(); ++i) {
      const vm_mem::MapSection& section = map->sections()[i];
      EXPECT_EQ(section.range.begin().value, two_regions()[i].base);
      EXPECT_EQ(section.range.bytes(), two_regions()[i].bytes);
      EXPECT_EQ(section.dirty_log != nullptr, tracked == Tracked::kYes);
    }
  }
}

}  // namespace
}  // namespace vm_bench
