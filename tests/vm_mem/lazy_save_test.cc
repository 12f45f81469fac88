// Snapshots of memory that is being restored lazily.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/host_probes.h"
#include "tests/vm_mem/lazy_world.h"
#include "tests/vm_mem/snapshot_world.h"
#include "vm_mem/lazy_restore.h"
#include "vm_mem/snapshot_series.h"

namespace vm_mem {
namespace {

using vm_test::SnapshotWorld;
using vm_test::TestRegion;

class LazySaveTest : public vm_test::LazyTest {
 protected:
  static std::vector<std::byte> restored(const std::string& path,
                                         const std::vector<TestRegion>& regions) {
    SnapshotWorld world(regions);
    const absl::Status status = restore_snapshot(world.memory(), *vm_test::opened_snapshot(path));
    EXPECT_TRUE(status.ok()) << status;
    return world.bytes();
  }
};
VM_TEST_BOTH_LAZY_FAULTS(LazySaveTest);

const std::vector<TestRegion>& two_regions() {
  static const std::vector<TestRegion> regions = {{.begin = 0, .pages = 50},
                                                  {.begin = 0x1000000, .pages = 1000}};
  return regions;
}

TEST_P(LazySaveTest, AFullOneHasWhatIsAbsentAndBringsNothing) {
  SnapshotWorld world(two_regions());
  for (std::uint64_t page = 0; page < 1050; page += 3) world.fill(page, page + 1);
  const auto snapshot = saved(world);
  SnapshotWorld other(two_regions());
  const auto lazy = started(other, snapshot, single_pages());
  other.fill(100, 5);
  other.fill(3, 0);
  other.discard(600);
  world.fill(100, 5);
  world.fill(3, 0);
  world.fill(600, 0);
  const LazyStatistics before = lazy->statistics();
  const std::vector<GuestAddress> working_set = {other.address_of(900), other.address_of(100),
                                                 other.address_of(600)};
  const auto again = save_snapshot(other.memory(), file("b"), {.working_set = working_set});
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(lazy->statistics().absent, before.absent);
  EXPECT_EQ(lazy->statistics().faults, before.faults);
  const auto second = vm_test::opened_snapshot(file("b"));
  EXPECT_TRUE(second->verify().ok());
  EXPECT_EQ(second->info().data_pages, snapshot->info().data_pages - 1);
  // The first in the file, though it was never here.
  const std::vector<std::byte> bytes = vm_test::file_bytes(file("b"));
  EXPECT_TRUE(std::ranges::equal(std::span(bytes).subspan(4096, 4096), page_at(world, 900)));
  EXPECT_EQ(restored(file("b"), two_regions()), world.bytes());
  EXPECT_EQ(other.bytes(), world.bytes());
}

// A page can be written from the moment that it is there, which is before all of the block that
// it came with is.
TEST_P(LazySaveTest, APageWrittenAsSoonAsItCameIsNotTakenFromTheFile) {
  const std::vector<TestRegion> region = {{.begin = 0, .pages = 256}};
  SnapshotWorld world(region);
  for (std::uint64_t page = 0; page < 256; ++page) world.fill(page, page + 1);
  const auto snapshot = saved(world);
  const auto written = SnapshotWorld::page_of(7777);
  for (int round = 0; round < 15; ++round) {
    SnapshotWorld other(region);
    const auto lazy = started(other, snapshot);
    const std::byte* const host = other.memory().map()->sections()[0].host;
    std::thread filling([&] { EXPECT_TRUE(lazy->finish().ok()); });
    while (vm_test::resident_pages({host, vm_test::kSnapshotPage}) == 0) continue;
    const AccessResult write = other.memory().write(GuestAddress{0}, written);
    const auto again = save_snapshot(other.memory(), file("b"));
    filling.join();
    ASSERT_TRUE(write.ok());
    ASSERT_TRUE(again.ok()) << again.status();
    SnapshotWorld third(region);
    ASSERT_TRUE(restore_snapshot(third.memory(), *vm_test::opened_snapshot(file("b"))).ok());
    EXPECT_EQ(page_at(third, 0), written);
  }
}

TEST_P(LazySaveTest, AnIncrementalOneHasWhatWasWritten) {
  SnapshotWorld world(two_regions());
  for (std::uint64_t page = 0; page < 1050; page += 2) world.fill(page, page + 1);
  const auto snapshot = saved(world);
  SnapshotWorld other(two_regions());
  const auto lazy = started(other, snapshot, single_pages());
  auto series = SnapshotSeries::resume(other.memory(), "snapshots", *snapshot);
  ASSERT_TRUE(series.ok()) << series.status();
  for (SnapshotWorld* const each : {&world, &other}) {
    each->fill(70, 1234);
    each->fill(71, 1235);
    each->discard(500);
  }
  const std::uint64_t absent = lazy->statistics().absent;
  const auto part = series->save_incremental(file("b"));
  ASSERT_TRUE(part.ok()) << part.status();
  EXPECT_EQ(part->data_pages, 2);
  EXPECT_EQ(part->zero_pages, 1);
  EXPECT_EQ(lazy->statistics().absent, absent);
  EXPECT_EQ(restored(file("b"), two_regions()), world.bytes());
  EXPECT_TRUE(lazy->finish().ok());
  other.fill(72, 9);
  world.fill(72, 9);
  const auto more = series->save_incremental(file("c"));
  ASSERT_TRUE(more.ok()) << more.status();
  EXPECT_EQ(more->data_pages, 1);
  EXPECT_EQ(restored(file("c"), two_regions()), world.bytes());
}

// What a series had before says nothing of what is restored in its place.
TEST_P(LazySaveTest, OnAnotherBaseAnIncrementalOneHasWhatIsAbsentToo) {
  SnapshotWorld world(two_regions());
  for (std::uint64_t page = 0; page < 1050; page += 5) world.fill(page, page + 1);
  const auto snapshot = saved(world);
  SnapshotWorld other(two_regions());
  for (std::uint64_t page = 0; page < 1050; page += 3) other.fill(page, page + 7000);
  auto series = SnapshotSeries::begin(other.memory(), "snapshots");
  ASSERT_TRUE(series->save_full(file("base")).ok());
  const auto lazy = started(other, snapshot);
  const auto part = series->save_incremental(file("b"), {.working_set = {other.address_of(20)}});
  ASSERT_TRUE(part.ok()) << part.status();
  EXPECT_EQ(restored(file("b"), two_regions()), world.bytes());
  EXPECT_EQ(lazy->statistics().touched, 0);
}

TEST_P(LazySaveTest, RandomChainsRestoredLazilyAndSavedOnTheWay) {
  for (unsigned round = 0; round < 4; ++round) {
    std::mt19937 random(round);
    const auto up_to = [&](std::uint64_t most) {
      return std::uniform_int_distribution<std::uint64_t>(0, most)(random);
    };
    const std::vector<TestRegion> regions = {{.begin = 0x4000, .pages = 1 + up_to(50)},
                                             {.begin = 0x1000000, .pages = 1 + up_to(700)}};
    SnapshotWorld world(regions);
    const auto change = [&](SnapshotWorld& of, std::uint64_t page, std::uint64_t seed) {
      if (seed % 5 == 0) {
        of.discard(page);
      } else {
        of.fill(page, seed % 7 == 0 ? 0 : seed);
      }
    };
    auto series = SnapshotSeries::begin(world.memory(), "snapshots");
    std::string name = file("r");
    ASSERT_TRUE(series->save_full(name).ok());
    for (int link = 0; link < 4; ++link) {
      for (int i = 0; i < 60; ++i) change(world, up_to(world.page_count() - 1), 1 + up_to(9999));
      name += "x";
      ASSERT_TRUE(series->save_incremental(name, {.working_set = {world.address_of(0)}}).ok());
    }
    SnapshotWorld other(regions);
    const auto snapshot = vm_test::opened_snapshot(name);
    const auto lazy =
        started(other, snapshot, {.faults = GetParam(), .fill = round % 2 == 1, .io = kIo});
    auto next = SnapshotSeries::resume(other.memory(), "snapshots", *snapshot);
    for (int link = 0; link < 3; ++link) {
      for (int i = 0; i < 20; ++i) {
        const std::uint64_t page = up_to(world.page_count() - 1);
        const std::uint64_t seed = 1 + up_to(9999);
        change(world, page, seed);
        change(other, page, seed);
      }
      name += "y";
      const auto result = link == 1 ? next->save_full(name) : next->save_incremental(name);
      ASSERT_TRUE(result.ok()) << result.status();
      EXPECT_EQ(restored(name, regions), world.bytes());
    }
    EXPECT_EQ(other.bytes(), world.bytes());
  }
}

}  // namespace
}  // namespace vm_mem
