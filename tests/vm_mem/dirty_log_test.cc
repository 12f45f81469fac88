#include "vm_mem/dirty_log.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <set>
#include <vector>

namespace vm_mem {
namespace {

using Pages = std::set<std::uint64_t>;

Pages dirty_pages(const DirtyLog& log) {
  Pages pages;
  for (std::uint64_t page = 0; page < log.page_count(); ++page) {
    if (log.is_dirty(page * kDirtyPageBytes)) pages.insert(page);
  }
  EXPECT_EQ(pages.size(), log.dirty_page_count());
  return pages;
}

Pages pages_between(std::uint64_t first, std::uint64_t end) {
  Pages pages;
  for (std::uint64_t page = first; page < end; ++page) pages.insert(page);
  return pages;
}

TEST(DirtyLogTest, BeginsClean) {
  const DirtyLog log(10 * kDirtyPageBytes);
  EXPECT_EQ(log.page_count(), 10u);
  EXPECT_EQ(dirty_pages(log), Pages{});
}

TEST(DirtyLogTest, CountsAPartialPage) { EXPECT_EQ(DirtyLog(4097).page_count(), 2u); }

TEST(DirtyLogTest, OfNothingIsEmpty) { EXPECT_EQ(DirtyLog(0).dirty_page_count(), 0u); }

TEST(DirtyLogTest, MarksEveryPageThatARangeTouchesAndNoOther) {
  DirtyLog log(10 * kDirtyPageBytes);
  log.mark(4096, 4096);
  EXPECT_EQ(dirty_pages(log), (Pages{1}));
  log.mark(3 * 4096 - 1, 2);
  EXPECT_EQ(dirty_pages(log), (Pages{1, 2, 3}));
  log.mark(5 * 4096 + 100, 3 * 4096);
  EXPECT_EQ(dirty_pages(log), (Pages{1, 2, 3, 5, 6, 7, 8}));
  log.mark(10 * 4096 - 1, 1);
  EXPECT_EQ(dirty_pages(log), (Pages{1, 2, 3, 5, 6, 7, 8, 9}));
}

TEST(DirtyLogTest, MarksRangesOfEveryLength) {
  constexpr std::uint64_t kPages = 300;
  for (std::uint64_t count = 1; count <= 200; ++count) {
    DirtyLog log(kPages * kDirtyPageBytes);
    log.mark(50 * kDirtyPageBytes + 17, (count - 1) * kDirtyPageBytes + 1);
    ASSERT_EQ(dirty_pages(log), pages_between(50, 50 + count));
  }
}

TEST(DirtyLogTest, ALongRangeMayEndWithTheRegion) {
  DirtyLog log(300 * kDirtyPageBytes);
  log.mark(100 * kDirtyPageBytes, 200 * kDirtyPageBytes);
  EXPECT_EQ(dirty_pages(log), pages_between(100, 300));
}

TEST(DirtyLogTest, NoBytesMarkNothing) {
  DirtyLog log(2 * kDirtyPageBytes);
  log.mark(0, 0);
  log.mark(4096, 0);
  EXPECT_EQ(dirty_pages(log), Pages{});
}

TEST(DirtyLogTest, MarksAccumulate) {
  DirtyLog log(2 * kDirtyPageBytes);
  log.mark(0, 1);
  log.mark(0, 1);
  EXPECT_EQ(log.dirty_page_count(), 1u);
}

TEST(DirtyLogTest, BytesAreWhereAWriterInLineLooks) {
  DirtyLog log(300 * kDirtyPageBytes);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(log.bytes()) % 64, 0u);
  log.mark_page(7);
  EXPECT_NE(log.bytes()[7].load(), 0);
  EXPECT_EQ(log.bytes()[8].load(), 0);
  log.mark_first(8);
  EXPECT_EQ(dirty_pages(log), (Pages{7, 8}));
}

TEST(DirtyLogTest, MergesABitmapFromAWordOn) {
  DirtyLog log(300 * kDirtyPageBytes);
  const std::vector<std::uint64_t> words = {0x5, 0, std::uint64_t{1} << 63};
  log.merge_bitmap(words, 64);
  EXPECT_EQ(dirty_pages(log), (Pages{64, 66, 255}));
}

TEST(DirtyLogTest, LeavesOutBitsPastTheRegion) {
  const std::vector<std::uint64_t> all(9, ~std::uint64_t{0});
  for (const std::uint64_t pages : {1u, 63u, 64u, 65u, 300u}) {
    DirtyLog log(pages * kDirtyPageBytes);
    log.merge_bitmap(all);
    EXPECT_EQ(dirty_pages(log), pages_between(0, pages));
    log.merge_bitmap(all, 320);
    EXPECT_EQ(log.dirty_page_count(), pages);
  }
}

TEST(DirtyLogTest, MergesPagesAndCountsThoseInside) {
  DirtyLog log(10 * kDirtyPageBytes);
  const std::vector<std::uint64_t> pages = {3, 9, 3, 10, ~std::uint64_t{0}};
  EXPECT_EQ(log.merge_pages(pages), 3u);
  EXPECT_EQ(dirty_pages(log), (Pages{3, 9}));
}

}  // namespace
}  // namespace vm_mem
