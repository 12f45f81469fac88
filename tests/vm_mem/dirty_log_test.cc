#include "vm_mem/dirty_log.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <set>

namespace vm_mem {
namespace {

std::set<std::uint64_t> dirty_pages(const DirtyLog& log) {
  std::set<std::uint64_t> pages;
  for (std::uint64_t page = 0; page < log.page_count(); ++page) {
    if (log.is_dirty(page * kDirtyPageBytes)) pages.insert(page);
  }
  EXPECT_EQ(pages.size(), log.dirty_page_count());
  return pages;
}

using Pages = std::set<std::uint64_t>;

TEST(DirtyLogTest, BeginsClean) {
  const DirtyLog log(10 * kDirtyPageBytes);
  EXPECT_EQ(log.page_count(), 10u);
  EXPECT_EQ(dirty_pages(log), Pages{});
}

TEST(DirtyLogTest, CountsAPartialPage) { EXPECT_EQ(DirtyLog(4097).page_count(), 2u); }

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

}  // namespace
}  // namespace vm_mem
