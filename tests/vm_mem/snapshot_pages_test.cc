#include "vm_mem/snapshot_pages.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "tests/support/temporary_file.h"
#include "tests/vm_mem/snapshot_image.h"
#include "tests/vm_mem/snapshot_world.h"
#include "vm_mem/snapshot_convert.h"
#include "vm_mem/snapshot_series.h"

namespace vm_mem {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using vm_test::kSnapshotPage;
using vm_test::SnapshotWorld;

GuestRange pages_at(std::uint64_t begin, std::uint64_t pages) {
  return *GuestRange::make(GuestAddress{begin}, pages * kSnapshotPage);
}

Snapshot saved(SnapshotWorld& world, const std::string& path,
               std::vector<DeviceState> states = {}) {
  const auto done = save_snapshot(world.memory(), path, {.states = std::move(states)});
  EXPECT_TRUE(done.ok()) << done.status();
  return *Snapshot::open(path);
}

TEST(SnapshotPagesTest, DataRangesAreOfTheFileOrOfItsChain) {
  const vm_test::TemporaryFolder folder(vm_test::memory_folder());
  SnapshotWorld world({{.begin = 0, .pages = 4}, {.begin = 0x4000, .pages = 4}});
  auto series = SnapshotSeries::begin(world.memory(), "snapshots");
  for (const std::uint64_t page : {1u, 3u, 4u}) world.fill(page, page);
  ASSERT_TRUE(series->save_full(folder.file("a")).ok());
  world.fill(1, 0);
  world.fill(6, 6);
  ASSERT_TRUE(series->save_incremental(folder.file("b")).ok());
  const auto snapshot = Snapshot::open(folder.file("b"));
  EXPECT_THAT(data_ranges(*snapshot, SnapshotFiles::kYoungest), ElementsAre(pages_at(0x6000, 1)));
  EXPECT_THAT(data_ranges(*snapshot, SnapshotFiles::kOpen),
              ElementsAre(pages_at(0x3000, 2), pages_at(0x6000, 1)));
}

TEST(SnapshotPagesTest, ADiffHasPagesThatDifferJoinedAcrossRegions) {
  const vm_test::TemporaryFolder folder(vm_test::memory_folder());
  SnapshotWorld world({{.begin = 0, .pages = 4}, {.begin = 0x4000, .pages = 4}});
  for (const std::uint64_t page : {0u, 3u, 4u, 5u}) world.fill(page, page + 1);
  const Snapshot first = saved(world, folder.file("a"));
  world.fill(3, 0);   // zero in the second
  world.fill(4, 99);  // other bytes
  world.fill(6, 1);   // zero in the first
  const Snapshot second = saved(world, folder.file("b"));
  const auto diff = diff_snapshots(first, second);
  ASSERT_TRUE(diff.ok()) << diff.status();
  EXPECT_THAT(diff->pages, ElementsAre(pages_at(0x3000, 2), pages_at(0x6000, 1)));
  EXPECT_THAT(diff->only_first, IsEmpty());
  EXPECT_THAT(diff->only_second, IsEmpty());
  EXPECT_FALSE(diff->empty());
  EXPECT_EQ(diff->read_pages, 4);  // pages 0 and 5 on both sides
  const auto same = diff_snapshots(second, saved(world, folder.file("c")));
  ASSERT_TRUE(same.ok()) << same.status();
  EXPECT_TRUE(same->empty());
}

TEST(SnapshotPagesTest, WhatIsInACommonParentIsNotRead) {
  const vm_test::TemporaryFolder folder(vm_test::memory_folder());
  SnapshotWorld world;
  for (std::uint64_t page = 0; page < 32; ++page) world.fill(page, page + 1);
  auto series = SnapshotSeries::begin(world.memory(), "snapshots");
  ASSERT_TRUE(series->save_full(folder.file("a")).ok());
  world.fill(7, 70);
  ASSERT_TRUE(series->save_incremental(folder.file("b")).ok());
  world.fill(7, 8);  // as in the parent
  ASSERT_TRUE(series->save_incremental(folder.file("c")).ok());
  const auto parent = Snapshot::open(folder.file("a"));
  const auto child = Snapshot::open(folder.file("b"));
  const auto grandchild = Snapshot::open(folder.file("c"));
  const auto diff = diff_snapshots(*parent, *child);
  ASSERT_TRUE(diff.ok()) << diff.status();
  EXPECT_THAT(diff->pages, ElementsAre(pages_at(0x17000, 1)));
  EXPECT_EQ(diff->read_pages, 0);
  const auto back = diff_snapshots(*parent, *grandchild);
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_TRUE(back->empty());
  EXPECT_EQ(back->read_pages, 2);
}

TEST(SnapshotPagesTest, MemoryThatOnlyOneHasIsNamedAndTheRestCompared) {
  const vm_test::TemporaryFolder folder(vm_test::memory_folder());
  SnapshotWorld one({{.begin = 0x10000, .pages = 8}});
  SnapshotWorld other({{.begin = 0x12000, .pages = 2}, {.begin = 0x15000, .pages = 8}});
  one.fill(3, 1);
  one.fill(4, 1);  // where the other has no memory
  other.fill(1, 2);
  const auto diff = diff_snapshots(saved(one, folder.file("a")), saved(other, folder.file("b")));
  ASSERT_TRUE(diff.ok()) << diff.status();
  EXPECT_THAT(diff->only_first, ElementsAre(pages_at(0x10000, 2), pages_at(0x14000, 1)));
  EXPECT_THAT(diff->only_second, ElementsAre(pages_at(0x18000, 5)));
  EXPECT_THAT(diff->pages, ElementsAre(pages_at(0x13000, 1)));
}

TEST(SnapshotPagesTest, StatesDifferByVersionOrBytes) {
  const vm_test::TemporaryFolder folder(vm_test::memory_folder());
  SnapshotWorld world;
  const std::vector<std::byte> bytes(5000, std::byte{1});
  auto changed = bytes;
  changed.back() = std::byte{2};
  const Snapshot first = saved(world, folder.file("a"),
                               {{.id = "same", .version = 1, .bytes = bytes},
                                {.id = "version", .version = 1, .bytes = bytes},
                                {.id = "bytes", .version = 1, .bytes = bytes},
                                {.id = "gone"}});
  const Snapshot second = saved(world, folder.file("b"),
                                {{.id = "bytes", .version = 1, .bytes = changed},
                                 {.id = "same", .version = 1, .bytes = bytes},
                                 {.id = "come"},
                                 {.id = "version", .version = 2, .bytes = bytes}});
  const auto diff = diff_snapshots(first, second);
  ASSERT_TRUE(diff.ok()) << diff.status();
  EXPECT_THAT(diff->states, ElementsAre("version", "bytes"));
  EXPECT_THAT(diff->states_only_first, ElementsAre("gone"));
  EXPECT_THAT(diff->states_only_second, ElementsAre("come"));
  EXPECT_EQ(first.info().states[1].bytes, bytes.size());
  EXPECT_EQ(second.info().states[3].version, 2);
}

TEST(SnapshotPagesTest, ADamagedPageThatHasToBeReadIsAnErrorAndOneThatNeedNotIsNone) {
  const vm_test::TemporaryFolder folder(vm_test::memory_folder());
  SnapshotWorld world;
  world.fill(1, 1);
  const Snapshot first = saved(world, folder.file("a"));
  const Snapshot second = saved(world, folder.file("b"));
  world.fill(1, 2);
  const Snapshot third = saved(world, folder.file("c"));
  std::fstream(folder.file("b")).seekp(kSnapshotPage + 5).put('!');
  EXPECT_TRUE(diff_snapshots(second, third).ok());
  const auto diff = diff_snapshots(first, second);
  EXPECT_EQ(diff.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(diff.status().message()),
              testing::HasSubstr(folder.file("b") + ": at 0x1000: "));
}

// No save stores such a page, but the format has it.
TEST(SnapshotPagesTest, AStoredPageOfZerosIsNoOtherThanNone) {
  const vm_test::TemporaryFolder folder(vm_test::memory_folder());
  SnapshotWorld world;
  world.fill(1, 1);
  saved(world, folder.file("a"));
  vm_test::SnapshotImage image(vm_test::file_bytes(folder.file("a")));
  const auto page = std::span(image.bytes()).subspan(kSnapshotPage, kSnapshotPage);
  std::ranges::fill(page, std::byte{});
  vm_test::SnapshotImage::put(image.section(internal::SectionKind::kPageChecksums), 0,
                              internal::crc32c(page));
  image.reseal();
  image.write(folder.file("a"));
  world.fill(1, 0);
  const auto diff =
      diff_snapshots(*Snapshot::open(folder.file("a")), saved(world, folder.file("b")));
  ASSERT_TRUE(diff.ok()) << diff.status();
  EXPECT_TRUE(diff->empty());
  EXPECT_EQ(diff->read_pages, 1);
}

TEST(SnapshotPagesTest, AChainWithoutItsParentsCannotBeCompared) {
  const vm_test::TemporaryFolder folder(vm_test::memory_folder());
  SnapshotWorld world;
  auto series = SnapshotSeries::begin(world.memory(), "snapshots");
  ASSERT_TRUE(series->save_full(folder.file("a")).ok());
  ASSERT_TRUE(series->save_incremental(folder.file("b")).ok());
  const auto alone = Snapshot::open(folder.file("b"), {.parents = SnapshotParents::kIgnore});
  const auto whole = Snapshot::open(folder.file("a"));
  EXPECT_EQ(diff_snapshots(*whole, *alone).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(alone->info().parent_name, "a");
  EXPECT_EQ(alone->info().format_major, 1);
}

TEST(SnapshotPagesTest, ADiffCanBeCancelled) {
  const vm_test::TemporaryFolder folder(vm_test::memory_folder());
  SnapshotWorld world;
  world.fill(1, 1);
  const auto diff = diff_snapshots(saved(world, folder.file("a")), saved(world, folder.file("b")),
                                   {.progress = [](auto, auto) { return SnapshotStep::kCancel; }});
  EXPECT_EQ(diff.status().code(), absl::StatusCode::kCancelled);
}

// Random memory in two random chains: the pages that differ are those whose bytes do.
TEST(SnapshotPagesTest, ADiffIsWhatTheBytesSay) {
  const vm_test::TemporaryFolder folder(vm_test::memory_folder());
  std::mt19937 random(7);
  for (int round = 0; round < 20; ++round) {
    SnapshotWorld world({{.begin = 0, .pages = 16}, {.begin = 0x20000, .pages = 8}});
    auto series = SnapshotSeries::begin(world.memory(), "snapshots");
    ASSERT_TRUE(series->save_full(folder.file("a")).ok());
    std::vector<std::vector<std::byte>> images;
    for (const char* name : {"b", "c", "d"}) {
      for (unsigned i = 0; i < 1 + random() % 12; ++i) world.fill(random() % 24, random() % 3);
      ASSERT_TRUE((random() % 2 == 0 ? series->save_full(folder.file(name))
                                     : series->save_incremental(folder.file(name)))
                      .ok());
      images.push_back(world.bytes());
    }
    const auto first = Snapshot::open(folder.file("b"));
    const auto second = Snapshot::open(folder.file("d"));
    const auto diff = diff_snapshots(*first, *second);
    ASSERT_TRUE(diff.ok()) << diff.status();
    for (std::uint64_t page = 0; page < 24; ++page) {
      const auto at = static_cast<std::ptrdiff_t>(page * kSnapshotPage);
      const bool differs = !std::equal(
          images[0].begin() + at, images[0].begin() + at + kSnapshotPage, images[2].begin() + at);
      const auto told = std::ranges::any_of(diff->pages, [&](const GuestRange& range) {
        return range.contains(world.address_of(page));
      });
      EXPECT_EQ(told, differs) << round << " page " << page;
    }
  }
}

}  // namespace
}  // namespace vm_mem
