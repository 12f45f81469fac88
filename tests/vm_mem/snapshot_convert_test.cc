#include "vm_mem/snapshot_convert.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <string>
#include <vector>

#include "tests/support/temporary_file.h"
#include "tests/vm_mem/snapshot_world.h"
#include "vm_mem/snapshot_series.h"

namespace vm_mem {
namespace {

using vm_test::SnapshotWorld;

TEST(SnapshotConvertTest, AMergedChainNeedsNoParentAndKeepsStatesAndWorkingSet) {
  const vm_test::TemporaryFolder folder;
  SnapshotWorld world;
  world.fill(1, 1);
  world.fill(2, 2);
  auto series = SnapshotSeries::begin(world.memory(), "snapshots");
  ASSERT_TRUE(series->save_full(folder.file("a")).ok());
  world.fill(2, 0);
  world.fill(3, 3);
  const std::vector<GuestAddress> working_set = {world.address_of(3), world.address_of(1)};
  ASSERT_TRUE(
      series
          ->save_incremental(folder.file("b"),
                             {.states = {{.id = "cpu", .version = 4, .bytes = {std::byte{7}}}},
                              .working_set = working_set})
          .ok());
  const auto chain = Snapshot::open(folder.file("b"));
  EXPECT_EQ(merge_snapshots(*chain, folder.file("a")).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(merge_snapshots(*chain, folder.file("c"), {.kept = 2}).status().code(),
            absl::StatusCode::kInvalidArgument);
  const auto merged = merge_snapshots(*chain, folder.file("c"));
  ASSERT_TRUE(merged.ok()) << merged.status();
  EXPECT_EQ(merged->data_pages, 2);
  EXPECT_EQ(merged->zero_pages, 0);
  std::filesystem::remove(folder.file("a"));
  std::filesystem::remove(folder.file("b"));
  const auto alone = Snapshot::open(folder.file("c"));
  ASSERT_TRUE(alone.ok()) << alone.status();
  EXPECT_TRUE(alone->info().parent.is_zero());
  EXPECT_EQ(alone->working_set(), working_set);
  EXPECT_EQ(alone->state("cpu")->bytes, std::vector{std::byte{7}});
  SnapshotWorld other;
  ASSERT_TRUE(restore_snapshot(other.memory(), *alone).ok());
  EXPECT_EQ(other.bytes(), world.bytes());
}

TEST(SnapshotConvertTest, AFlatImageHasRegionsOneAfterTheOtherAndHoles) {
  const vm_test::TemporaryFolder folder;
  SnapshotWorld world({{.begin = 0, .pages = 1000}, {.begin = 0x80000000, .pages = 24}});
  world.fill(1010, 1);
  ASSERT_TRUE(save_snapshot(world.memory(), folder.file("a")).ok());
  const auto snapshot = Snapshot::open(folder.file("a"));
  ASSERT_TRUE(export_flat_image(*snapshot, folder.file("flat")).ok());
  EXPECT_EQ(vm_test::file_bytes(folder.file("flat")), world.bytes());
  struct stat about = {};
  ASSERT_EQ(::stat(folder.file("flat").c_str(), &about), 0);
  EXPECT_LE(about.st_blocks * 512, 64 << 10);
  const std::vector<GuestRange> regions = snapshot->info().regions;
  const auto imported = import_flat_image(folder.file("flat"), regions, folder.file("b"),
                                          {.states = {{.id = "cpu"}}});
  ASSERT_TRUE(imported.ok()) << imported.status();
  EXPECT_EQ(imported->data_pages, 1);
  EXPECT_LE(imported->scanned_pages, 16);
  EXPECT_EQ(Snapshot::open(folder.file("b"))->states().size(), 1);
  EXPECT_EQ(
      import_flat_image(folder.file("flat"), {&regions[0], 1}, folder.file("c")).status().code(),
      absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(import_flat_image(folder.file("flat"), regions, folder.file("c"),
                              {.working_set = {GuestAddress{0}}})
                .status()
                .code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(import_flat_image(folder.file("flat"), regions, folder.file("flat")).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(vm_test::file_bytes(folder.file("flat")), world.bytes());
}

}  // namespace
}  // namespace vm_mem
