// Snapshots that are damaged, or go away, while pages of them are still to come.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "tests/vm_mem/lazy_world.h"
#include "tests/vm_mem/snapshot_world.h"
#include "vm_mem/internal/userfaultfd.h"
#include "vm_mem/lazy_restore.h"
#include "vm_mem/snapshot_series.h"

namespace vm_mem {
namespace {

using testing::HasSubstr;
using vm_test::kSnapshotPage;
using vm_test::SnapshotWorld;
using vm_test::TestRegion;

constexpr std::uint64_t kPages = 600;

// Of which each page is data, page p with seed p + 1, in the p-th slot of the file.
class LazyDamageTest : public vm_test::LazyTest {
 protected:
  static std::vector<TestRegion> region(HostFaultPolicy policy = HostFaultPolicy::kReport) {
    return {{.begin = 0x10000,
             .pages = kPages,
             .recovery = FaultRecovery::kRecoverable,
             .host_fault = policy}};
  }
  void SetUp() override {
    LazyTest::SetUp();
    if (IsSkipped()) return;
    for (std::uint64_t page = 0; page < kPages; ++page) world_.fill(page, page + 1);
    snapshot_ = saved(world_);
  }
  void flip(std::uint64_t page) const {
    std::vector<std::byte> bytes = vm_test::file_bytes(path());
    const std::size_t at = (page + 1) * kSnapshotPage + 77;
    const std::byte flipped = bytes[at] ^ std::byte{4};
    const int fd = ::open(path().c_str(), O_WRONLY | O_CLOEXEC);
    EXPECT_EQ(::pwrite(fd, &flipped, 1, static_cast<off_t>(at)), 1);
    ::close(fd);
  }
  void cut_before(std::uint64_t page) const {
    std::filesystem::resize_file(path(), (page + 1) * kSnapshotPage);
  }
  static std::vector<std::byte> expected(std::uint64_t page) {
    return SnapshotWorld::page_of(page + 1);
  }

  SnapshotWorld world_{region()};
  std::shared_ptr<const Snapshot> snapshot_;
};
VM_TEST_BOTH_LAZY_FAULTS(LazyDamageTest);

TEST_P(LazyDamageTest, ADamagedPageIsNeverSeen) {
  flip(20);
  SnapshotWorld other(region());
  const auto lazy = started(other, snapshot_);
  EXPECT_EQ(fault_at(other, 20), AccessFault::kHostFault);
  EXPECT_EQ(fault_at(other, 20), AccessFault::kHostFault);
  EXPECT_EQ(lazy->statistics().damaged, 1);
  for (std::uint64_t page = 0; page < kPages; ++page) {
    if (page == 20) continue;
    EXPECT_EQ(page_at(other, page), expected(page)) << page;
  }
  const auto lease = other.memory().lease(range_of(other, 19, 2), LeaseAccess::kRead);
  EXPECT_EQ(lease.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(lazy->ensure_present(range_of(other, 20)).code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(save_snapshot(other.memory(), file("b")).status().code(), absl::StatusCode::kDataLoss);
  const absl::Status finished = lazy->finish();
  EXPECT_EQ(finished.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(finished.message()), HasSubstr("0x24000 does not match its checksum"));
  EXPECT_THAT(std::string(finished.message()), HasSubstr(path() + ": at 0x15000"));
  EXPECT_TRUE(lazy->done());
  EXPECT_EQ(fault_at(other, 20), AccessFault::kHostFault);
}

TEST_P(LazyDamageTest, DiscardIsTheWayOut) {
  flip(20);
  flip(21);
  SnapshotWorld other(region());
  const auto lazy = started(other, snapshot_);
  EXPECT_EQ(fault_at(other, 20), AccessFault::kHostFault);
  other.discard(20);
  EXPECT_EQ(page_at(other, 20), SnapshotWorld::page_of(0));
  EXPECT_EQ(lazy->finish().code(), absl::StatusCode::kDataLoss);
  other.discard(21);
  EXPECT_EQ(page_at(other, 21), SnapshotWorld::page_of(0));
  EXPECT_TRUE(save_snapshot(other.memory(), file("b")).ok());
}

TEST_P(LazyDamageTest, TheCallbackMayTakeZeros) {
  flip(20);
  flip(300);
  std::atomic<int> asked{0};
  LazyRestoreOptions options = touches_only();
  options.on_damage = [&](GuestAddress page, const absl::Status& why) {
    ++asked;
    EXPECT_EQ(why.code(), absl::StatusCode::kDataLoss);
    EXPECT_THAT(std::string(why.message()), HasSubstr("does not match its checksum"));
    return page == GuestAddress{0x24000} ? LazyDamage::kZeros : LazyDamage::kPoison;
  };
  SnapshotWorld other(region());
  const auto lazy = started(other, snapshot_, options);
  const auto client = other.memory().add_dirty_client("later");
  EXPECT_EQ(page_at(other, 20), SnapshotWorld::page_of(0));
  EXPECT_EQ(fault_at(other, 300), AccessFault::kHostFault);
  EXPECT_EQ(lazy->finish().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(asked, 2);
  DirtyPages dirty;
  ASSERT_TRUE(other.memory().harvest_dirty(*client, other.ids()[0], dirty).ok());
  EXPECT_EQ(dirty.page_count(), 1);
  EXPECT_TRUE(dirty.is_dirty(20));
  EXPECT_EQ(page_at(other, 599), expected(599));
}

TEST_P(LazyDamageTest, ManyThreadsAreToldOfOnePageOnce) {
  flip(20);
  std::atomic<int> asked{0};
  LazyRestoreOptions options = touches_only();
  options.on_damage = [&](GuestAddress, const absl::Status&) {
    ++asked;
    return LazyDamage::kPoison;
  };
  SnapshotWorld other(region());
  const auto lazy = started(other, snapshot_, options);
  std::vector<std::thread> threads;
  for (int i = 0; i < 12; ++i) {
    threads.emplace_back([&] {
      EXPECT_EQ(fault_at(other, 20), AccessFault::kHostFault);
      EXPECT_EQ(page_at(other, 22), expected(22));
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(asked, 1);
  EXPECT_EQ(lazy->statistics().damaged, 1);
}

TEST_P(LazyDamageTest, TheBackgroundGoesOnBehindDamage) {
  for (const unsigned page : {0U, 5U, 255U, 256U, 599U}) flip(page);
  SnapshotWorld other(region());
  const auto lazy = started(other, snapshot_, all_of_it());
  while (!lazy->done()) std::this_thread::yield();
  EXPECT_EQ(lazy->statistics().damaged, 5);
  EXPECT_EQ(lazy->finish().code(), absl::StatusCode::kDataLoss);
  for (std::uint64_t page = 0; page < kPages; ++page) {
    const bool is_damaged = page == 0 || page == 5 || page == 255 || page == 256 || page == 599;
    EXPECT_EQ(fault_at(other, page), is_damaged ? AccessFault::kHostFault : AccessFault::kNone)
        << page;
  }
}

TEST_P(LazyDamageTest, AWorkingSetThatIsDamagedIsAsAnyOtherPage) {
  const auto working_set = {world_.address_of(30), world_.address_of(31)};
  snapshot_ = saved(world_, working_set);
  flip(0);  // the first slot has page 30
  SnapshotWorld other(region());
  const auto lazy = started(other, snapshot_, {.faults = GetParam(), .fill = false, .io = kIo});
  EXPECT_EQ(lazy->statistics().damaged, 1);
  EXPECT_EQ(lazy->statistics().prefetched, 1);
  EXPECT_EQ(fault_at(other, 30), AccessFault::kHostFault);
  EXPECT_EQ(page_at(other, 31), expected(31));
}

TEST_P(LazyDamageTest, AFileThatIsCutOffMeanwhileIsDamage) {
  SnapshotWorld other(region());
  const auto lazy = started(other, snapshot_);
  EXPECT_EQ(page_at(other, 5), expected(5));
  cut_before(100);
  EXPECT_EQ(page_at(other, 99), expected(99));
  EXPECT_EQ(fault_at(other, 100), AccessFault::kHostFault);
  EXPECT_EQ(fault_at(other, 400), AccessFault::kHostFault);
  const absl::Status finished = lazy->finish();
  EXPECT_EQ(finished.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(finished.message()), HasSubstr("the file ends here, too early"));
  EXPECT_EQ(lazy->statistics().damaged, kPages - 100);
  EXPECT_EQ(page_at(other, 98), expected(98));
  EXPECT_EQ(fault_at(other, 599), AccessFault::kHostFault);
}

TEST_P(LazyDamageTest, AFileThatIsRemovedOrReplacedMeanwhileStaysInUse) {
  SnapshotWorld other(region());
  const auto lazy = started(other, snapshot_);
  other.fill(7, 7777);
  world_.fill(7, 7777);
  EXPECT_TRUE(save_snapshot(other.memory(), path()).ok());
  std::filesystem::remove(path());
  EXPECT_EQ(other.bytes(), world_.bytes());
}

TEST_P(LazyDamageTest, EndedEarlyWhatIsAbsentFails) {
  SnapshotWorld other(region());
  auto lazy = started(other, snapshot_);
  EXPECT_EQ(page_at(other, 5), expected(5));
  other.discard(300);
  lazy.reset();
  EXPECT_EQ(page_at(other, 5), expected(5));
  EXPECT_EQ(page_at(other, 300), SnapshotWorld::page_of(0));
  EXPECT_EQ(fault_at(other, 200), AccessFault::kHostFault);
  EXPECT_EQ(fault_at(other, 599), AccessFault::kHostFault);
  // And it is ordinary memory otherwise.
  EXPECT_TRUE(restore_snapshot(other.memory(), *snapshot_).ok());
  EXPECT_EQ(other.bytes(), world_.bytes());
}

TEST_P(LazyDamageTest, EndedEarlyWhileItIsFilled) {
  for (int round = 0; round < 3; ++round) {
    SnapshotWorld other(region());
    auto lazy = started(other, snapshot_, all_of_it());
    page_at(other, 100);
    lazy.reset();
    for (std::uint64_t page = 0; page < kPages; ++page) {
      std::vector<std::byte> bytes(kSnapshotPage);
      const AccessResult read = other.memory().read(other.address_of(page), bytes);
      if (read.ok()) {
        EXPECT_EQ(bytes, expected(page)) << page;
      } else {
        EXPECT_EQ(read.fault, AccessFault::kHostFault);
      }
    }
  }
}

// The page of zeros that such regions get for memory that has gone is for that alone.
TEST_P(LazyDamageTest, RegionsWithZeroPagesGetTheirBytes) {
  SnapshotWorld other(region(HostFaultPolicy::kZeroPage));
  const auto lazy = started(other, snapshot_);
  EXPECT_EQ(other.bytes(), world_.bytes());
}

TEST_P(LazyDamageTest, NoPageOfZerosTakesThePlaceOfADamagedOneOrOfAnAbsentOne) {
  flip(20);
  SnapshotWorld other(region(HostFaultPolicy::kZeroPage));
  auto lazy = started(other, snapshot_, single_pages());
  EXPECT_EQ(fault_at(other, 20), AccessFault::kHostFault);
  EXPECT_EQ(page_at(other, 21), expected(21));
  lazy.reset();
  EXPECT_EQ(fault_at(other, 20), AccessFault::kHostFault);
  EXPECT_EQ(fault_at(other, 599), AccessFault::kHostFault);
  lazy = started(other, snapshot_);
  EXPECT_EQ(fault_at(other, 20), AccessFault::kHostFault);
  EXPECT_EQ(lazy->finish().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(fault_at(other, 20), AccessFault::kHostFault);
  EXPECT_EQ(page_at(other, 599), expected(599));
}

// Such as where a disk is full: a page that can be read and not written.
TEST_P(LazyDamageTest, AFaultOfLaterIsNotTriedAgainForEver) {
  SnapshotWorld other(region());
  auto lazy = started(other, snapshot_);
  ASSERT_TRUE(lazy->finish().ok());
  std::byte* const host = other.memory().map()->sections()[0].host;
  for (const bool is_gone : {false, true}) {
    if (is_gone) lazy.reset();
    const auto refusing = vm_test::pages_that_refuse_writes({host, 2 * kSnapshotPage});
    if (!refusing.has_value()) GTEST_SKIP() << "the host has no write protection by userfaultfd";
    EXPECT_EQ(other.memory().write(other.address_of(1), expected(7)).fault,
              AccessFault::kHostFault);
    EXPECT_EQ(page_at(other, 1), expected(1));
  }
  other.fill(1, 3);
}

TEST(UserfaultfdTest, PoisonedPagesFailWithAndWithoutTheKernelsPoison) {
  auto faults = internal::Userfaultfd::open(LazyFaults::kInThread);
  if (!faults.ok()) GTEST_SKIP() << faults.status();
  for (const bool by_kernel : {true, false}) {
    if (!by_kernel) faults->forget_poison();
    SnapshotWorld world({{.begin = 0, .pages = 4, .recovery = FaultRecovery::kRecoverable}});
    std::byte* const host = world.memory().map()->sections()[0].host;
    ASSERT_TRUE(faults->watch({host, 4 * kSnapshotPage}).ok());
    EXPECT_EQ(faults->poison({host + kSnapshotPage, 2 * kSnapshotPage}).error, 0);
    EXPECT_EQ(faults->zero({host, kSnapshotPage}).error, 0);
    EXPECT_EQ(faults->zero({host, kSnapshotPage}).error, EEXIST);
    faults->forget({host, 4 * kSnapshotPage});
    std::vector<std::byte> bytes(4 * kSnapshotPage);
    const AccessResult read = world.memory().read(GuestAddress{0}, bytes);
    EXPECT_EQ(read.fault, AccessFault::kHostFault);
    EXPECT_EQ(read.done, kSnapshotPage);
    EXPECT_TRUE(world.memory().read(GuestAddress{0x3000}, std::span(bytes).first(8)).ok());
  }
}

}  // namespace
}  // namespace vm_mem
