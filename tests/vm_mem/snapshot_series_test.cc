#include "vm_mem/snapshot_series.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "tests/support/temporary_file.h"
#include "tests/vm_mem/snapshot_world.h"
#include "vm_mem/snapshot_convert.h"

namespace vm_mem {
namespace {

using testing::HasSubstr;
using vm_test::SnapshotWorld;

std::vector<std::byte> restored(const std::string& path,
                                const std::vector<vm_test::TestRegion>& regions) {
  const auto snapshot = Snapshot::open(path);
  EXPECT_TRUE(snapshot.ok()) << snapshot.status();
  SnapshotWorld world(regions);
  const absl::Status status = restore_snapshot(world.memory(), *snapshot);
  EXPECT_TRUE(status.ok()) << status;
  return world.bytes();
}

const std::vector<vm_test::TestRegion>& one_region() {
  static const std::vector<vm_test::TestRegion> regions = {{.begin = 0x10000, .pages = 64}};
  return regions;
}

TEST(SnapshotSeriesTest, HoldsWhatChanged) {
  const vm_test::TemporaryFolder folder(vm_test::memory_folder());
  SnapshotWorld world;
  world.fill(1, 1);
  world.fill(2, 2);
  world.fill(3, 3);
  auto series = SnapshotSeries::begin(world.memory(), "snapshots");
  ASSERT_TRUE(series.ok());
  ASSERT_TRUE(series->save_full(folder.file("a")).ok());
  world.fill(2, 20);
  world.fill(1, 0);
  world.discard(3);
  const auto saved = series->save_incremental(folder.file("b"));
  ASSERT_TRUE(saved.ok()) << saved.status();
  EXPECT_EQ(saved->data_pages, 1);
  EXPECT_EQ(saved->zero_pages, 2);
  const auto snapshot = Snapshot::open(folder.file("b"));
  ASSERT_TRUE(snapshot.ok());
  ASSERT_EQ(snapshot->chain().size(), 2);
  EXPECT_EQ(snapshot->info().parent, snapshot->chain()[1].id);
  EXPECT_TRUE(snapshot->verify().ok());
  EXPECT_EQ(restored(folder.file("b"), one_region()), world.bytes());
}

TEST(SnapshotSeriesTest, WhatAFailedSaveHadCollectedIsInTheNextOne) {
  const vm_test::TemporaryFolder folder(vm_test::memory_folder());
  SnapshotWorld world;
  auto series = SnapshotSeries::begin(world.memory(), "snapshots");
  ASSERT_TRUE(series->save_full(folder.file("a")).ok());
  world.fill(5, 1);
  EXPECT_FALSE(series->save_incremental(folder.file("none/b")).ok());
  world.fill(6, 2);
  ASSERT_TRUE(series->save_incremental(folder.file("b")).ok());
  EXPECT_EQ(restored(folder.file("b"), one_region()), world.bytes());
}

// The marks of what is written through it come with its release, which may be after the save.
TEST(SnapshotSeriesTest, WhatALeaseThatIsStillHeldMayHaveWrittenIsSaved) {
  const vm_test::TemporaryFolder folder(vm_test::memory_folder());
  SnapshotWorld world;
  const auto leased = *GuestRange::make(world.address_of(3), 2 * 4096);
  auto lease = world.memory().lease(leased, LeaseAccess::kReadWrite);
  ASSERT_TRUE(lease.ok());
  const auto read = world.memory().lease(leased, LeaseAccess::kRead);
  auto series = SnapshotSeries::begin(world.memory(), "snapshots");
  ASSERT_TRUE(series->save_full(folder.file("a"), {.leases = SnapshotLeases::kIgnore}).ok());
  lease->bytes()[4096] = std::byte{7};
  EXPECT_FALSE(series->save_incremental(folder.file("b")).ok());
  const auto saved =
      series->save_incremental(folder.file("b"), {.leases = SnapshotLeases::kIgnore});
  ASSERT_TRUE(saved.ok()) << saved.status();
  EXPECT_EQ(saved->data_pages, 1);
  EXPECT_EQ(saved->zero_pages, 1);
  EXPECT_EQ(restored(folder.file("b"), one_region()), world.bytes());
}

// The new region has other memory: what the old one had is not to be seen in it.
TEST(SnapshotSeriesTest, ARegionThatCameInThePlaceOfAnotherIsSavedWhole) {
  const vm_test::TemporaryFolder folder(vm_test::memory_folder());
  SnapshotWorld world;
  world.fill(5, 1);
  world.fill(6, 2);
  auto series = SnapshotSeries::begin(world.memory(), "snapshots");
  ASSERT_TRUE(series->save_full(folder.file("a")).ok());
  ASSERT_TRUE(world.memory().remove_region(world.ids()[0], RemovePolicy::kWait).ok());
  RamOptions options;
  options.dirty_tracking = DirtyTracking::kOn;
  const auto range = *GuestRange::make(world.address_of(0), world.page_count() * 4096);
  ASSERT_TRUE(world.memory().add_ram(range, options).ok());
  world.fill(6, 3);
  ASSERT_TRUE(series->save_incremental(folder.file("b")).ok());
  EXPECT_EQ(restored(folder.file("b"), one_region()), world.bytes());
  world.fill(7, 4);
  const auto next = series->save_incremental(folder.file("c"));
  ASSERT_TRUE(next.ok());
  EXPECT_EQ(next->data_pages, 1);
}

TEST(SnapshotSeriesTest, RegionsThatChangedPlacesAreSavedWhole) {
  const vm_test::TemporaryFolder folder(vm_test::memory_folder());
  const std::vector<vm_test::TestRegion> regions = {{.begin = 0x10000, .pages = 4},
                                                    {.begin = 0x20000, .pages = 4}};
  SnapshotWorld world(regions);
  world.fill(1, 1);
  world.fill(6, 2);
  auto series = SnapshotSeries::begin(world.memory(), "snapshots");
  ASSERT_TRUE(series->save_full(folder.file("a")).ok());
  const absl::Status moved = world.memory().change([&] {
    absl::Status status = world.memory().move_region(world.ids()[0], GuestAddress{0x40000});
    if (status.ok()) status = world.memory().move_region(world.ids()[1], GuestAddress{0x10000});
    if (status.ok()) status = world.memory().move_region(world.ids()[0], GuestAddress{0x20000});
    return status;
  });
  ASSERT_TRUE(moved.ok()) << moved;
  ASSERT_TRUE(series->save_incremental(folder.file("b")).ok());
  EXPECT_EQ(restored(folder.file("b"), regions), world.bytes());
}

TEST(SnapshotSeriesTest, ARestoredSnapshotIsGoneOnFrom) {
  const vm_test::TemporaryFolder folder(vm_test::memory_folder());
  SnapshotWorld world;
  world.fill(1, 1);
  ASSERT_TRUE(save_snapshot(world.memory(), folder.file("a")).ok());
  const auto snapshot = Snapshot::open(folder.file("a"));
  SnapshotWorld other;
  ASSERT_TRUE(restore_snapshot(other.memory(), *snapshot).ok());
  auto series = SnapshotSeries::resume(other.memory(), "snapshots", *snapshot);
  ASSERT_TRUE(series.ok()) << series.status();
  other.fill(7, 7);
  const auto saved = series->save_incremental(folder.file("b"));
  ASSERT_TRUE(saved.ok());
  EXPECT_EQ(saved->data_pages, 1);
  EXPECT_EQ(restored(folder.file("b"), one_region()), other.bytes());
}

TEST(SnapshotSeriesTest, RefusesWhatItCouldNotRestOn) {
  const vm_test::TemporaryFolder folder(vm_test::memory_folder());
  SnapshotWorld world;
  auto series = SnapshotSeries::begin(world.memory(), "snapshots");
  EXPECT_FALSE(SnapshotSeries::begin(world.memory(), "snapshots").ok());
  const auto refused = [&](const std::string& name) {
    return series->save_incremental(folder.file(name)).status();
  };
  EXPECT_THAT(std::string(refused("b").message()), HasSubstr("no snapshot that it could rest on"));
  ASSERT_TRUE(series->save_full(folder.file("a")).ok());
  EXPECT_EQ(refused("a").code(), absl::StatusCode::kInvalidArgument);
  std::filesystem::create_hard_link(folder.file("a"), folder.file("same"));
  EXPECT_EQ(refused("same").code(), absl::StatusCode::kInvalidArgument);
  std::filesystem::rename(folder.file("a"), folder.file("moved"));
  EXPECT_THAT(std::string(refused("b").message()), HasSubstr("gone or was replaced"));
  std::filesystem::rename(folder.file("moved"), folder.file("a"));
  ASSERT_TRUE(world.memory().add_ram(*GuestRange::make(GuestAddress{0x100000}, 4096)).ok());
  EXPECT_THAT(std::string(refused("b").message()), HasSubstr("others than those of"));
  const absl::Status untracked = series->save_full(folder.file("c")).status();
  EXPECT_EQ(untracked.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(untracked.message()), HasSubstr("set_dirty_tracking()"));
}

// Told by what is in it: the number of a file that is gone is given to the next one.
TEST(SnapshotSeriesTest, ABaseThatWasWrittenOverInPlaceIsNoticed) {
  const vm_test::TemporaryFolder folder(vm_test::memory_folder());
  SnapshotWorld world;
  world.fill(1, 1);
  auto series = SnapshotSeries::begin(world.memory(), "snapshots");
  ASSERT_TRUE(series->save_full(folder.file("a")).ok());
  ASSERT_TRUE(save_snapshot(world.memory(), folder.file("other")).ok());
  const std::vector<std::byte> before = vm_test::file_bytes(folder.file("a"));
  const auto write_over = [&](const std::vector<std::byte>& bytes) {
    std::ofstream(folder.file("a"), std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()),
               static_cast<std::streamsize>(bytes.size()));
  };
  const auto snapshot = Snapshot::open(folder.file("a"));
  write_over(vm_test::file_bytes(folder.file("other")));
  const absl::Status refused = series->save_incremental(folder.file("b")).status();
  EXPECT_THAT(std::string(refused.message()), HasSubstr("gone or was replaced"));
  auto resumed = SnapshotSeries::resume(world.memory(), "more", *snapshot);
  EXPECT_FALSE(resumed->save_incremental(folder.file("b")).ok());
  write_over(before);
  EXPECT_TRUE(series->save_incremental(folder.file("b")).ok());
  EXPECT_EQ(restored(folder.file("b"), one_region()), world.bytes());
}

TEST(SnapshotSeriesTest, AChainEndsAtItsLongest) {
  const vm_test::TemporaryFolder folder(vm_test::memory_folder());
  SnapshotWorld world({{.begin = 0, .pages = 4}});
  auto series = SnapshotSeries::begin(world.memory(), "snapshots");
  ASSERT_TRUE(series->save_full(folder.file("0")).ok());
  for (int i = 1; i <= 32; ++i) {
    world.fill(static_cast<std::uint64_t>(i) % 4, static_cast<std::uint64_t>(i));
    ASSERT_TRUE(
        series->save_incremental(folder.file(std::to_string(i)), {.io = SnapshotIo::kBuffered})
            .ok());
  }
  EXPECT_EQ(series->save_incremental(folder.file("33")).status().code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(restored(folder.file("32"), {{.begin = 0, .pages = 4}}), world.bytes());
}

TEST(SnapshotSeriesTest, AParentThatWasReplacedIsNoticed) {
  const vm_test::TemporaryFolder folder(vm_test::memory_folder());
  SnapshotWorld world;
  auto series = SnapshotSeries::begin(world.memory(), "snapshots");
  ASSERT_TRUE(series->save_full(folder.file("a")).ok());
  ASSERT_TRUE(series->save_incremental(folder.file("b")).ok());
  ASSERT_TRUE(save_snapshot(world.memory(), folder.file("a")).ok());
  const auto snapshot = Snapshot::open(folder.file("b"));
  EXPECT_EQ(snapshot.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(snapshot.status().message()), HasSubstr("is wanted"));
  const auto alone = Snapshot::open(folder.file("b"), {.parents = SnapshotParents::kIgnore});
  ASSERT_TRUE(alone.ok());
  EXPECT_EQ(restore_snapshot(world.memory(), *alone).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_FALSE(merge_snapshots(*alone, folder.file("c")).ok());
}

TEST(SnapshotSeriesTest, ParentsAreWhereTheCallerSaysTheyAre) {
  const vm_test::TemporaryFolder folder(vm_test::memory_folder());
  const vm_test::TemporaryFolder elsewhere(vm_test::memory_folder());
  SnapshotWorld world;
  world.fill(1, 1);
  auto series = SnapshotSeries::begin(world.memory(), "snapshots");
  ASSERT_TRUE(series->save_full(elsewhere.file("a")).ok());
  ASSERT_TRUE(series->save_incremental(folder.file("b")).ok());
  EXPECT_EQ(Snapshot::open(folder.file("b")).status().code(), absl::StatusCode::kNotFound);
  const auto snapshot = Snapshot::open(
      folder.file("b"), {.find_parent = [&](const SnapshotId&, const std::string& name) {
        return absl::StatusOr<std::string>(elsewhere.file(name));
      }});
  EXPECT_TRUE(snapshot.ok()) << snapshot.status();
}

// --- Random regions, writes and chains.

constexpr unsigned kPages = 48;

struct Write {
  unsigned page = 0;
  unsigned what = 0;  // 0: zeros, 1: discarded, else a seed
};

rc::Gen<std::vector<Write>> any_writes() {
  return rc::gen::container<std::vector<Write>>(rc::gen::apply(
      [](unsigned page, unsigned what) {
        return Write{page, what};
      },
      rc::gen::inRange(0U, kPages), rc::gen::inRange(0U, 12U)));
}

std::vector<vm_test::TestRegion> any_regions() {
  std::vector<vm_test::TestRegion> regions;
  std::uint64_t begin = 0x1000 * *rc::gen::inRange<std::uint64_t>(0, 4);
  for (unsigned left = kPages; left != 0;) {
    const unsigned pages = *rc::gen::inRange(1U, left + 1);
    const bool memfd = *rc::gen::arbitrary<bool>();
    regions.push_back(
        {.begin = begin, .pages = pages, .backing = memfd ? Backing::kMemfd : Backing::kAnonymous});
    begin += 0x1000 * (pages + *rc::gen::inRange<std::uint64_t>(0, 3));
    left -= pages;
  }
  return regions;
}

void write_all(SnapshotWorld& world, const std::vector<Write>& writes) {
  for (const Write& write : writes) {
    if (write.what == 1) {
      world.discard(write.page);
    } else {
      world.fill(write.page, write.what);
    }
  }
}

TEST(SnapshotSeriesTest, EveryChainRestoresWhatWasSaved) {
  ::setenv("RC_PARAMS", "max_success=10 max_size=40", 0);
  EXPECT_TRUE(rc::check([] {
    const vm_test::TemporaryFolder folder(vm_test::memory_folder());
    const std::vector<vm_test::TestRegion> regions = any_regions();
    const auto io = *rc::gen::element(SnapshotIo::kRing, SnapshotIo::kBuffered);
    SnapshotWorld world(regions);
    auto series = SnapshotSeries::begin(world.memory(), "snapshots");
    std::vector<std::vector<std::byte>> images;
    const unsigned saves = *rc::gen::inRange(1U, 5U);
    for (unsigned i = 0; i < saves; ++i) {
      write_all(world, *any_writes());
      SnapshotSaveOptions options{.io = io};
      for (const Write& write : *any_writes()) {
        options.working_set.push_back(world.address_of(write.page));
      }
      const std::string path = folder.file(std::to_string(i));
      const auto saved =
          i == 0 ? series->save_full(path, options) : series->save_incremental(path, options);
      RC_ASSERT(saved.ok());
      images.push_back(world.bytes());
    }
    for (unsigned i = 0; i < saves; ++i) {
      RC_ASSERT(restored(folder.file(std::to_string(i)), regions) == images[i]);
    }
    // Into memory that has something else, by way of a merge, and of a flat image.
    const auto last = Snapshot::open(folder.file(std::to_string(saves - 1)));
    RC_ASSERT(last.ok() && last->verify().ok());
    SnapshotWorld used(regions);
    write_all(used, *any_writes());
    RC_ASSERT(restore_snapshot(used.memory(), *last).ok());
    RC_ASSERT(used.bytes() == images.back());
    const unsigned kept = *rc::gen::inRange(0U, saves);
    RC_ASSERT(merge_snapshots(*last, folder.file("merged"), {.kept = kept, .io = io}).ok());
    RC_ASSERT(restored(folder.file("merged"), regions) == images.back());
    RC_ASSERT(export_flat_image(*last, folder.file("flat")).ok());
    RC_ASSERT(vm_test::file_bytes(folder.file("flat")) == images.back());
    std::vector<GuestRange> ranges = last->info().regions;
    RC_ASSERT(import_flat_image(folder.file("flat"), ranges, folder.file("imported")).ok());
    RC_ASSERT(restored(folder.file("imported"), regions) == images.back());
  }));
}

}  // namespace
}  // namespace vm_mem
