#include "vm_mem/flat_image.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "tests/support/temporary_file.h"
#include "tests/vm_mem/snapshot_world.h"
#include "vm_mem/snapshot_convert.h"
#include "vm_mem/snapshot_series.h"

namespace vm_mem {
namespace {

using vm_test::kSnapshotPage;
using vm_test::SnapshotWorld;

GuestRange pages_at(std::uint64_t begin, std::uint64_t pages) {
  return *GuestRange::make(GuestAddress{begin}, pages * kSnapshotPage);
}

// Two regions, of which the image has 4 pages and 2.
class FlatImageTest : public testing::Test {
 protected:
  void SetUp() override {
    world_.fill(1, 1);
    world_.fill(3, 3);
    world_.fill(4, 4);
    ASSERT_TRUE(save_snapshot(world_.memory(), folder_.file("a")).ok());
    const Snapshot snapshot = *Snapshot::open(folder_.file("a"));
    ASSERT_TRUE(export_flat_image(snapshot, image_).ok());
  }
  std::vector<std::byte> page(std::uint64_t address) const {
    std::vector<std::byte> bytes(kSnapshotPage);
    EXPECT_TRUE(memory_->read(GuestAddress{address}, bytes).ok()) << address;
    return bytes;
  }
  bool shows(std::uint64_t address) const {
    std::byte byte{};
    return memory_->read(GuestAddress{address}, {&byte, 1}).ok();
  }

  const vm_test::TemporaryFolder folder_{vm_test::memory_folder()};
  const std::string image_ = folder_.file("image");
  const std::vector<GuestRange> regions_ = {pages_at(0x10000, 4), pages_at(0x40000, 2)};
  SnapshotWorld world_{{{.begin = 0x10000, .pages = 4}, {.begin = 0x40000, .pages = 2}}};
  std::unique_ptr<MemoryManager> memory_ = *MemoryManager::create({});
};

TEST_F(FlatImageTest, EachRegionShowsItsPartAndWritesStayInTheProcess) {
  const std::vector<std::byte> before = vm_test::file_bytes(image_);
  const auto ids = map_flat_image(*memory_, image_, regions_);
  ASSERT_TRUE(ids.ok()) << ids.status();
  EXPECT_EQ(ids->size(), 2);
  EXPECT_EQ(page(0x11000), SnapshotWorld::page_of(1));
  EXPECT_EQ(page(0x12000), SnapshotWorld::page_of(0));
  EXPECT_EQ(page(0x40000), SnapshotWorld::page_of(4));
  ASSERT_TRUE(memory_->write(GuestAddress{0x40000}, SnapshotWorld::page_of(9)).ok());
  EXPECT_EQ(page(0x40000), SnapshotWorld::page_of(9));
  EXPECT_EQ(vm_test::file_bytes(image_), before);

  const auto other = *MemoryManager::create({});
  ASSERT_TRUE(map_flat_image(*other, image_, regions_).ok());
  std::vector<std::byte> bytes(kSnapshotPage);
  ASSERT_TRUE(other->read(GuestAddress{0x40000}, bytes).ok());
  EXPECT_EQ(bytes, SnapshotWorld::page_of(4));
}

TEST_F(FlatImageTest, ItIsSavedAsAnyMemory) {
  ASSERT_TRUE(
      map_flat_image(*memory_, image_, regions_, {.dirty_tracking = DirtyTracking::kOn}).ok());
  auto series = SnapshotSeries::begin(*memory_, "snapshots");
  ASSERT_TRUE(series->save_full(folder_.file("b")).ok());
  ASSERT_TRUE(memory_->write(GuestAddress{0x12000}, SnapshotWorld::page_of(2)).ok());
  const auto saved = series->save_incremental(folder_.file("c"));
  ASSERT_TRUE(saved.ok()) << saved.status();
  EXPECT_EQ(saved->data_pages, 1);
  world_.fill(2, 2);
  SnapshotWorld restored({{.begin = 0x10000, .pages = 4}, {.begin = 0x40000, .pages = 2}});
  ASSERT_TRUE(restore_snapshot(restored.memory(), *Snapshot::open(folder_.file("c"))).ok());
  EXPECT_EQ(restored.bytes(), world_.bytes());
}

TEST_F(FlatImageTest, AnImageOfAnotherLengthIsRefusedAndSoAreRegionsOutOfOrder) {
  const auto refusal = [&](std::vector<GuestRange> regions) {
    const absl::Status status = map_flat_image(*memory_, image_, regions).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    return std::string(status.message());
  };
  EXPECT_EQ(refusal({pages_at(0x10000, 4), pages_at(0x40000, 3)}),
            image_ + ": it has 0x6000 bytes, where the regions have 0x7000");
  EXPECT_THAT(refusal({pages_at(0x10000, 4)}), testing::HasSubstr("where the regions have 0x4000"));
  refusal({pages_at(0x40000, 2), pages_at(0x10000, 4)});
  refusal({pages_at(0x10000, 4), pages_at(0x13000, 2)});
  refusal({*GuestRange::make(GuestAddress{0x10000}, 0x5fff)});
  EXPECT_EQ(map_flat_image(*memory_, folder_.file("no"), regions_).status().code(),
            absl::StatusCode::kNotFound);
  EXPECT_FALSE(shows(0x10000));
}

TEST_F(FlatImageTest, WhereARegionIsRefusedNoneIsAdded) {
  ASSERT_TRUE(memory_->add_ram(pages_at(0x41000, 1)).ok());
  EXPECT_EQ(map_flat_image(*memory_, image_, regions_).status().code(),
            absl::StatusCode::kAlreadyExists);
  EXPECT_FALSE(shows(0x10000));
}

TEST_F(FlatImageTest, AnImageThatIsCutOffIsAHostFaultWithAnExactCount) {
  ASSERT_TRUE(map_flat_image(*memory_, image_, regions_).ok());
  ASSERT_TRUE(memory_->write(GuestAddress{0x41000}, SnapshotWorld::page_of(7)).ok());
  ASSERT_EQ(::truncate(image_.c_str(), 3 * kSnapshotPage), 0);
  std::vector<std::byte> bytes(2 * kSnapshotPage);
  const AccessResult result = memory_->read(GuestAddress{0x12000 + 100}, bytes);
  EXPECT_EQ(result.fault, AccessFault::kHostFault);
  EXPECT_EQ(result.done, kSnapshotPage - 100);
  EXPECT_EQ(page(0x11000), SnapshotWorld::page_of(1));
}

}  // namespace
}  // namespace vm_mem
