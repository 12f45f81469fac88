// Every allocation of a change of the map fails once: the change is refused, and the map
// is as before. The same of snapshots.
#include <gtest/gtest.h>

#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "tests/support/failing_allocations.h"
#include "tests/support/guest_range.h"
#include "tests/support/temporary_file.h"
#include "tests/vm_mem/snapshot_world.h"
#include "vm_mem/memory_manager.h"
#include "vm_mem/snapshot.h"
#include "vm_mem/snapshot_series.h"

namespace vm_mem {
namespace {

using vm_test::allocations_left;
using vm_test::range;

constexpr std::uint64_t kPage = 4096;

class OutOfMemoryTest : public testing::Test {
 protected:
  OutOfMemoryTest() {
    ram_ = memory_->add_ram(range(0, 4 * kPage), {.max_bytes = 8 * kPage}).value();
    window_ = memory_->add_alias(range(0x10000, kPage), ram_, kPage).value();
  }

  // Fails each allocation of `call` in turn, until none is left to fail.
  void fail_each_allocation_of(const std::function<absl::Status()>& call) {
    absl::Status status;
    int failures = -1;
    do {
      const auto before = memory_->map();
      allocations_left = ++failures;
      status = call();
      allocations_left = -1;
      if (status.ok()) continue;
      ASSERT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
      expect_as_before(*before);
    } while (!status.ok());
    EXPECT_GT(failures, 1);
  }

  MemoryManager& mm() { return *memory_; }
  RegionId ram() const { return ram_; }
  RegionId window() const { return window_; }

 private:
  void expect_as_before(const MemoryMap& before) {
    ASSERT_EQ(memory_->map().get(), &before);
    const RegionInfo info = memory_->region_info(ram_).value();
    EXPECT_EQ(info.range, range(0, 4 * kPage));
    EXPECT_EQ(info.dirty_tracking, DirtyTracking::kOff);
    EXPECT_EQ(memory_->dirty_page_count(ram_).status().code(),
              absl::StatusCode::kFailedPrecondition);
    EXPECT_EQ(memory_->region_info(window_)->range, range(0x10000, kPage));
    EXPECT_EQ(memory_->region_info(window_)->enabled, Enabled::kYes);
    EXPECT_TRUE(memory_->store(GuestAddress{0x10000}, std::uint64_t{7}).ok());
  }

  std::unique_ptr<MemoryManager> memory_ = MemoryManager::create({}).value();
  RegionId ram_{};
  RegionId window_{};
};

TEST_F(OutOfMemoryTest, TrackingStartsOrDoesNot) {
  fail_each_allocation_of([&] { return mm().set_dirty_tracking(ram(), DirtyTracking::kOn); });
  EXPECT_EQ(mm().dirty_page_count(ram()).value(), 0u);
  ASSERT_TRUE(mm().store(GuestAddress{0}, 1).ok());
  EXPECT_EQ(mm().dirty_page_count(ram()).value(), 1u);
}

TEST_F(OutOfMemoryTest, ARegionThatTracksIsAddedOrIsNot) {
  fail_each_allocation_of([&] {
    const RamOptions options{.dirty_tracking = DirtyTracking::kOn};
    return mm().add_ram(range(0x20000, kPage), options).status();
  });
  EXPECT_EQ(mm().map()->sections().size(), 3u);
}

TEST_F(OutOfMemoryTest, AResizeIsDoneOrIsNot) {
  fail_each_allocation_of([&] { return mm().resize_region(ram(), 8 * kPage); });
  EXPECT_TRUE(mm().store(GuestAddress{7 * kPage}, 1).ok());
}

TEST_F(OutOfMemoryTest, ARemovalIsDoneOrIsNot) {
  fail_each_allocation_of([&] { return mm().remove_region(window(), RemovePolicy::kRefuse); });
  EXPECT_EQ(mm().map()->sections().size(), 1u);
}

TEST_F(OutOfMemoryTest, SeveralChangesAreDoneOrNoneIs) {
  fail_each_allocation_of([&] {
    return mm().change([&] {
      absl::Status status = mm().add_container(range(0x30000, kPage)).status();
      if (status.ok()) status = mm().set_enabled(window(), Enabled::kNo);
      if (status.ok()) status = mm().resize_region(ram(), 6 * kPage);
      return status;
    });
  });
  EXPECT_EQ(mm().map()->sections().size(), 1u);
}

TEST_F(OutOfMemoryTest, ALeaseIsGivenOrIsNot) {
  fail_each_allocation_of([&] { return mm().lease(range(0, kPage), LeaseAccess::kRead).status(); });
  EXPECT_EQ(mm().leases(), 0u);
}

// By threads: so that their queue is met, too.
class SnapshotOutOfMemoryTest : public testing::Test {
 protected:
  SnapshotOutOfMemoryTest() {
    for (std::uint64_t page = 0; page < world_.page_count(); ++page) world_.fill(page, page + 1);
  }

  // Fails each allocation of `call` in turn, and calls `check` after each failure.
  static void fail_each_allocation_of(const std::function<absl::Status()>& call,
                                      const std::function<void()>& check) {
    for (int failures = 0;; ++failures) {
      const absl::Status status = vm_test::with_failing_allocation(failures, call);
      if (status.ok()) {
        EXPECT_GT(failures, 10);
        return;
      }
      ASSERT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
      check();
    }
  }
  std::size_t file_count() const {
    return static_cast<std::size_t>(
        std::distance(std::filesystem::directory_iterator(folder_.path()), {}));
  }
  std::string file(const std::string& name) const { return folder_.file(name); }

  static std::vector<vm_test::TestRegion> regions() { return {{.begin = 0, .pages = 144}}; }

  vm_test::TemporaryFolder folder_{vm_test::memory_folder()};
  vm_test::SnapshotWorld world_{regions()};
};

TEST_F(SnapshotOutOfMemoryTest, ASaveIsDoneOrLeavesNothing) {
  const std::string path = file("a");
  const auto save = [&] {
    return save_snapshot(world_.memory(), path, {.io = SnapshotIo::kThreads}).status();
  };
  fail_each_allocation_of(save, [&] { ASSERT_EQ(file_count(), 0); });
  EXPECT_TRUE(Snapshot::open(file("a")).ok());
}

TEST_F(SnapshotOutOfMemoryTest, ASeriesGoesOnAfterASaveThatFailed) {
  std::unique_ptr<SnapshotSeries> series;
  const auto begin = [&] {
    absl::StatusOr<SnapshotSeries> begun = SnapshotSeries::begin(world_.memory(), "snapshots");
    if (begun.ok()) series = std::make_unique<SnapshotSeries>(*std::move(begun));
    return begun.status();
  };
  ASSERT_TRUE(begin().ok());
  ASSERT_TRUE(series->save_full(file("a")).ok());
  world_.fill(4, 99);
  const std::string path = file("b");
  const auto save = [&] {
    return series->save_incremental(path, {.io = SnapshotIo::kThreads}).status();
  };
  fail_each_allocation_of(save, [&] { ASSERT_EQ(file_count(), 1); });
  world_.fill(5, 98);
  ASSERT_TRUE(series->save_incremental(file("c")).ok());
  vm_test::SnapshotWorld other(regions());
  ASSERT_TRUE(restore_snapshot(other.memory(), *Snapshot::open(file("c"))).ok());
  EXPECT_EQ(other.bytes(), world_.bytes());
}

TEST_F(SnapshotOutOfMemoryTest, ASeriesBeginsOrDoesNot) {
  const auto begin = [&] { return SnapshotSeries::begin(world_.memory(), "snapshots").status(); };
  for (int failures = 0; failures < 100; ++failures) {
    const absl::Status status = vm_test::with_failing_allocation(failures, begin);
    ASSERT_TRUE(status.ok() || status.code() == absl::StatusCode::kResourceExhausted) << status;
  }
}

// Of two files, the older of which has a page here and there: it takes more reads than are under
// way at a time, so that there is something to undo when one is prepared.
TEST_F(SnapshotOutOfMemoryTest, ARestoreIsDoneOrUndone) {
  auto series = SnapshotSeries::begin(world_.memory(), "snapshots");
  ASSERT_TRUE(series->save_full(file("a")).ok());
  for (std::uint64_t page = 0; page < world_.page_count(); ++page) {
    if (page % 12 != 0) world_.fill(page, page + 1000);
  }
  const std::string path = file("b");
  ASSERT_TRUE(series->save_incremental(path).ok());
  const auto open = [&] { return Snapshot::open(path).status(); };
  fail_each_allocation_of(open, [] {});
  const auto snapshot = Snapshot::open(path);
  const std::vector<std::byte> zeros = vm_test::SnapshotWorld(regions()).bytes();
  auto other = std::make_unique<vm_test::SnapshotWorld>(regions());
  const auto restore = [&] {
    return restore_snapshot(other->memory(), *snapshot, {.io = SnapshotIo::kThreads});
  };
  fail_each_allocation_of(restore, [&] {
    ASSERT_TRUE(other->bytes() == zeros);
    other = std::make_unique<vm_test::SnapshotWorld>(regions());  // that nobody has read
  });
  EXPECT_EQ(other->bytes(), world_.bytes());
  // Over memory in use, read once: what was changed is marked.
  vm_test::SnapshotWorld used(regions());
  used.fill(1, 1);
  const auto client = used.memory().add_dirty_client("test");
  std::vector<std::byte> before = used.bytes();
  const auto again = [&] {
    return restore_snapshot(used.memory(), *snapshot,
                            {.check = RestoreCheck::kMeanwhile, .io = SnapshotIo::kThreads});
  };
  fail_each_allocation_of(again, [&] {
    DirtyPages pages;
    ASSERT_TRUE(used.memory().harvest_dirty(*client, used.ids()[0], pages).ok());
    const std::vector<std::byte> after = used.bytes();
    ASSERT_TRUE(pages.page_count() != 0 || after == before);
    before = after;
  });
}

}  // namespace
}  // namespace vm_mem
