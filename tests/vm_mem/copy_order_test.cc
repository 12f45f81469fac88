#include "vm_mem/internal/copy_order.h"

#include <gtest/gtest.h>

#include <array>
#include <string>
#include <vector>

#include "tests/vm_mem/scripted_device.h"

namespace vm_mem::internal {
namespace {

constexpr std::uint64_t kPage = 4096;

// A map written as text: one letter a page from address 0; capital letters are pages
// of one host buffer, '.' a hole, '#' a device.
class PageMap {
 public:
  explicit PageMap(const char* pages) {
    std::vector<MapSection> sections;
    for (std::uint64_t i = 0; pages[i] != '\0'; ++i) {
      if (pages[i] == '.') continue;
      MapSection section;
      section.range = GuestRange::make(GuestAddress{i * kPage}, kPage).value();
      section.region = RegionId{i};
      if (pages[i] == '#') {
        section.kind = RegionKind::kMmio;
        section.handler = &device_;
      } else {
        section.host = &host_[static_cast<std::size_t>(pages[i] - 'A') * kPage];
      }
      sections.push_back(section);
    }
    map_ = MemoryMap(std::move(sections), 1);
  }

  CopyOrder order(std::uint64_t to, std::uint64_t from, std::uint64_t bytes) const {
    return copy_order(map_, {GuestAddress{to}, GuestAddress{from}, bytes});
  }

 private:
  inline static std::array<std::byte, 26 * kPage> host_;
  ScriptedDevice device_;
  MemoryMap map_;
};

TEST(CopyOrderTest, OnePieceIsTheCoresToMove) {
  EXPECT_EQ(PageMap("A").order(8, 0, 100), CopyOrder::kAscending);
  EXPECT_EQ(PageMap("A").order(0, 8, 100), CopyOrder::kAscending);
  EXPECT_EQ(PageMap("A").order(0, 0, 0), CopyOrder::kAscending);
}

TEST(CopyOrderTest, WithoutAliasesAddressesDecide) {
  const PageMap map("ABCD");
  EXPECT_EQ(map.order(8, 0, 3 * kPage), CopyOrder::kDescending);
  EXPECT_EQ(map.order(0, 8, 3 * kPage), CopyOrder::kAscending);
  EXPECT_EQ(map.order(2 * kPage, 0, 2 * kPage), CopyOrder::kAscending);
}

TEST(CopyOrderTest, OverlapIsJudgedOnHostMemory) {
  EXPECT_EQ(PageMap("AB.BA").order(3 * kPage + 8, 0, 8), CopyOrder::kAscending);
  EXPECT_EQ(PageMap("ABC.BCD").order(4 * kPage, 0, 3 * kPage), CopyOrder::kDescending);
  EXPECT_EQ(PageMap("BCD.ABC").order(4 * kPage, 0, 3 * kPage), CopyOrder::kAscending);
}

TEST(CopyOrderTest, PagesThatChangePlacesNeedABuffer) {
  EXPECT_EQ(PageMap("AB.BA").order(3 * kPage, 0, 2 * kPage), CopyOrder::kBuffered);
  EXPECT_EQ(PageMap("ABC.BCA").order(4 * kPage, 0, 3 * kPage), CopyOrder::kBuffered);
}

TEST(CopyOrderTest, ADestinationShownTwiceIsWrittenInOrderOfAddress) {
  EXPECT_EQ(PageMap("AB.CC").order(3 * kPage, 0, 2 * kPage), CopyOrder::kAscending);
  EXPECT_EQ(PageMap("AC.CC").order(3 * kPage, 0, 2 * kPage), CopyOrder::kBuffered);
}

TEST(CopyOrderTest, DevicesAreNeverWalkedBackward) {
  const PageMap map("AB#.BC#");
  EXPECT_EQ(map.order(4 * kPage, 0, 3 * kPage), CopyOrder::kBuffered);
  EXPECT_EQ(map.order(0, 4 * kPage, 3 * kPage), CopyOrder::kAscending);
  EXPECT_EQ(PageMap("#A").order(kPage, 0, 8), CopyOrder::kAscending);
}

TEST(CopyOrderTest, MoreSectionsThanItComparesAreBuffered) {
  const auto order_of_pages = [](std::size_t count) {
    const std::string pages = std::string(count, 'A') + std::string(count, 'B');
    return PageMap(pages.c_str()).order(count * kPage, 0, count * kPage);
  };
  EXPECT_EQ(order_of_pages(64), CopyOrder::kAscending);
  EXPECT_EQ(order_of_pages(65), CopyOrder::kBuffered);
}

TEST(CopyOrderTest, PiecesFromTheEndCoverTheRange) {
  std::array<std::byte, 1> unused{};
  MapSection low;
  low.range = GuestRange::make(GuestAddress{0}, kPage).value();
  low.host = unused.data();
  MapSection high = low;
  high.range = GuestRange::make(GuestAddress{kPage}, kPage).value();
  const MemoryMap map({low, high}, 1);
  const CopyRange range{GuestAddress{kPage - 100}, GuestAddress{kPage - 300}, 500};
  std::vector<std::uint64_t> lengths;
  for (std::uint64_t left = range.bytes; left > 0;) {
    lengths.push_back(piece_before(map, range, left).bytes);
    left -= lengths.back();
  }
  EXPECT_EQ(lengths, (std::vector<std::uint64_t>{200, 200, 100}));
}

}  // namespace
}  // namespace vm_mem::internal
