#include "vm_mem/lazy_restore.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/host_probes.h"
#include "tests/support/temporary_file.h"
#include "tests/vm_mem/lazy_world.h"
#include "tests/vm_mem/snapshot_world.h"

namespace vm_mem {
namespace {

using testing::HasSubstr;
using vm_test::SnapshotWorld;
using vm_test::TestRegion;

class LazyRestoreTest : public vm_test::LazyTest {};
VM_TEST_BOTH_LAZY_FAULTS(LazyRestoreTest);

std::vector<TestRegion> two_regions() {
  return {{.begin = 0x10000, .pages = 40}, {.begin = 0x100000, .pages = 1400}};
}
void fill_some(SnapshotWorld& world) {
  for (std::uint64_t page = 0; page < 100; ++page) {
    if (page % 3 != 0) world.fill(page, page + 1);
  }
  for (std::uint64_t page = 1300; page < 1380; ++page) world.fill(page, page);
}

TEST_P(LazyRestoreTest, PagesComeWhenTheyAreTouchedAndTheRestByFinish) {
  SnapshotWorld world(two_regions());
  fill_some(world);
  const auto snapshot = saved(world);
  SnapshotWorld other(two_regions());
  for (std::uint64_t page = 0; page < 300; ++page) other.fill(page, 5000 + page);
  const auto lazy = started(other, snapshot);
  const std::uint64_t all = snapshot->info().data_pages;
  EXPECT_EQ(lazy->statistics().absent, all);
  EXPECT_FALSE(lazy->done());
  EXPECT_EQ(page_at(other, 1), SnapshotWorld::page_of(2));
  EXPECT_EQ(page_at(other, 3), SnapshotWorld::page_of(0));
  EXPECT_EQ(page_at(other, 50), SnapshotWorld::page_of(51));
  EXPECT_EQ(page_at(other, 200), SnapshotWorld::page_of(0));
  EXPECT_EQ(page_at(other, 1310), SnapshotWorld::page_of(1310));
  other.fill(1, 77);
  const LazyStatistics some = lazy->statistics();
  EXPECT_GE(some.faults, 3);
  EXPECT_GT(some.touched, 3);
  EXPECT_LT(some.touched, all);
  EXPECT_EQ(some.absent, all - some.touched);
  const absl::Status finished = lazy->finish();
  EXPECT_TRUE(finished.ok()) << finished;
  EXPECT_TRUE(lazy->done());
  EXPECT_EQ(lazy->statistics().filled, all - some.touched);
  world.fill(1, 77);
  EXPECT_EQ(other.bytes(), world.bytes());
}

TEST_P(LazyRestoreTest, TheBackgroundBringsAllOfIt) {
  SnapshotWorld world(two_regions());
  fill_some(world);
  SnapshotWorld other(two_regions());
  const auto lazy = started(other, saved(world), all_of_it());
  while (!lazy->done()) std::this_thread::yield();
  EXPECT_EQ(lazy->statistics().absent, 0);
  EXPECT_EQ(other.bytes(), world.bytes());
  EXPECT_TRUE(lazy->finish().ok());
}

TEST_P(LazyRestoreTest, TheLastTouchEndsIt) {
  SnapshotWorld world;
  world.fill(3, 1);
  SnapshotWorld other;
  const auto lazy = started(other, saved(world));
  EXPECT_EQ(other.bytes(), world.bytes());
  while (!lazy->done()) std::this_thread::yield();
  EXPECT_TRUE(other.memory().remove_region(other.ids()[0], RemovePolicy::kWait).ok());
}

TEST_P(LazyRestoreTest, OfASnapshotOfZerosThereIsNothingToDo) {
  SnapshotWorld world;
  SnapshotWorld other;
  other.fill(5, 5);
  const auto lazy = started(other, saved(world));
  EXPECT_TRUE(lazy->done());
  EXPECT_EQ(other.bytes(), world.bytes());
}

TEST_P(LazyRestoreTest, TheWorkingSetIsThereBeforeAndRecordedForTheNext) {
  SnapshotWorld world(two_regions());
  fill_some(world);
  const std::vector<GuestAddress> working_set = {world.address_of(71), world.address_of(70),
                                                 world.address_of(1301), world.address_of(4)};
  const auto snapshot = saved(world, working_set);
  SnapshotWorld other(two_regions());
  const auto lazy = started(other, snapshot,
                            {.faults = GetParam(),
                             .fill = false,
                             .fault_around_bytes = vm_test::kSnapshotPage,
                             .io = kIo});
  EXPECT_EQ(lazy->statistics().prefetched, 4);
  for (const unsigned page : {4U, 70U, 71U, 1301U}) {
    EXPECT_EQ(page_at(other, page), page_at(world, page));
  }
  EXPECT_EQ(lazy->statistics().faults, 0);
  EXPECT_EQ(lazy->touched(), working_set);
  for (const unsigned page : {98U, 3U, 2U, 1302U}) page_at(other, page);
  std::vector<GuestAddress> touched = working_set;
  for (const unsigned page : {98U, 2U, 1302U}) touched.push_back(world.address_of(page));
  EXPECT_EQ(lazy->touched(), touched);
  EXPECT_EQ(lazy->statistics().touched, 3);
}

TEST_P(LazyRestoreTest, RecordsNoMoreThanItIsToldTo) {
  SnapshotWorld world(two_regions());
  fill_some(world);
  SnapshotWorld other(two_regions());
  LazyRestoreOptions options = touches_only();
  options.record_pages = 5;
  const auto lazy = started(other, saved(world), options);
  EXPECT_EQ(other.bytes(), world.bytes());
  EXPECT_EQ(lazy->touched().size(), 5);
}

TEST_P(LazyRestoreTest, TouchesThatFollowOneAnotherBringMore) {
  const std::vector<TestRegion> region = {{.begin = 0, .pages = 4096}};
  SnapshotWorld world(region);
  for (std::uint64_t page = 0; page < 4096; ++page) world.fill(page, page + 1);
  SnapshotWorld other(region);
  const auto lazy = started(other, saved(world));
  EXPECT_EQ(other.bytes(), world.bytes());
  EXPECT_EQ(lazy->statistics().touched, 4096);
  // 16, 32, ... 512 pages, instead of 256 times 16.
  EXPECT_LE(lazy->statistics().faults, 16);
}

TEST_P(LazyRestoreTest, SystemCallsGetWhatIsLeased) {
  SnapshotWorld world(two_regions());
  fill_some(world);
  SnapshotWorld other(two_regions());
  const auto lazy = started(other, saved(world));
  vm_test::TemporaryFile file("");
  const int fd = ::open(file.path().c_str(), O_RDWR | O_CLOEXEC);
  {
    const auto lease = other.memory().lease(range_of(other, 40, 20), LeaseAccess::kRead);
    ASSERT_TRUE(lease.ok()) << lease.status();
    const std::span<std::byte> bytes = lease->bytes();
    EXPECT_EQ(::pwrite(fd, bytes.data(), bytes.size(), 0), static_cast<ssize_t>(bytes.size()));
  }
  EXPECT_EQ(lazy->statistics().faults, 0);
  const std::vector<std::byte> all = world.bytes();
  const auto part = std::span(all).subspan(40 * vm_test::kSnapshotPage);
  EXPECT_TRUE(std::ranges::equal(vm_test::file_bytes(file.path()),
                                 part.first(20 * vm_test::kSnapshotPage)));
  {
    const auto lease = other.memory().lease(range_of(other, 1300, 20), LeaseAccess::kReadWrite);
    ASSERT_TRUE(lease.ok()) << lease.status();
    EXPECT_EQ(::pread(fd, lease->bytes().data(), 100, 0), 100);
  }
  ::close(fd);
  std::vector<std::byte> expected = SnapshotWorld::page_of(1300);
  std::ranges::copy(part.first(100), expected.begin());
  EXPECT_EQ(page_at(other, 1300), expected);
  EXPECT_EQ(page_at(other, 1319), SnapshotWorld::page_of(1319));
}

TEST_P(LazyRestoreTest, ASystemCallWithoutALeaseHasThePagesOrEfault) {
  SnapshotWorld world;
  world.fill(3, 4);
  SnapshotWorld other;
  const auto lazy = started(other, saved(world));
  const MapSection section = other.memory().map()->sections()[0];
  vm_test::TemporaryFile file("");
  const int fd = ::open(file.path().c_str(), O_RDWR | O_CLOEXEC);
  const auto write = [&] { return ::pwrite(fd, section.host + 3 * vm_test::kSnapshotPage, 16, 0); };
  if (GetParam() == LazyFaults::kInThread) {
    EXPECT_EQ(write(), -1);
    EXPECT_EQ(errno, EFAULT);
    EXPECT_TRUE(lazy->ensure_present(range_of(other, 0, 5)).ok());
  }
  EXPECT_EQ(write(), 16);
  ::close(fd);
  const std::vector<std::byte> written = vm_test::file_bytes(file.path());
  const std::vector<std::byte> expected = SnapshotWorld::page_of(4);
  EXPECT_TRUE(std::ranges::equal(written, std::span(expected).first(16)));
  EXPECT_EQ(lazy->ensure_present(*GuestRange::make(GuestAddress{0}, 16)).code(),
            absl::StatusCode::kNotFound);
}

TEST_P(LazyRestoreTest, WhatIsDiscardedIsZeroAndStaysSo) {
  SnapshotWorld world(two_regions());
  fill_some(world);
  SnapshotWorld other(two_regions());
  const auto lazy = started(other, saved(world));
  const auto zero = SnapshotWorld::page_of(0);
  EXPECT_EQ(page_at(other, 50), SnapshotWorld::page_of(51));
  other.discard(50);                                                    // present
  EXPECT_TRUE(other.memory().discard(range_of(other, 1310, 20)).ok());  // absent
  EXPECT_EQ(page_at(other, 50), zero);
  EXPECT_EQ(page_at(other, 1311), zero);
  other.discard(1311);
  EXPECT_EQ(page_at(other, 1311), zero);
  other.fill(1312, 9);
  EXPECT_TRUE(lazy->finish().ok());
  world.fill(50, 0);
  for (std::uint64_t page = 1310; page < 1330; ++page) world.fill(page, page == 1312 ? 9 : 0);
  EXPECT_EQ(other.bytes(), world.bytes());
}

TEST_P(LazyRestoreTest, RefusesWhatWouldTakeMemoryAwayUntilItIsDone) {
  RamOptions growing;
  growing.max_bytes = 64 << 12;
  const auto make = [&] {
    auto memory = *MemoryManager::create({});
    EXPECT_TRUE(memory->add_ram(*GuestRange::make(GuestAddress{0}, 16 << 12), growing).ok());
    return memory;
  };
  const auto world = make();
  EXPECT_TRUE(world->write(GuestAddress{0x3000}, SnapshotWorld::page_of(3)).ok());
  EXPECT_TRUE(save_snapshot(*world, path()).ok());
  const auto snapshot = vm_test::opened_snapshot(path());
  const auto other = make();
  auto lazy = *LazyRestore::start(*other, snapshot, touches_only());
  const RegionId id = other->map()->sections()[0].region;
  EXPECT_EQ(other->remove_region(id, RemovePolicy::kRefuse).code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(other->remove_region(id, RemovePolicy::kWait).code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(other->resize_region(id, 8 << 12).code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(other->resize_region(id, 32 << 12).ok());
  EXPECT_EQ(restore_snapshot(*other, *snapshot).code(), absl::StatusCode::kFailedPrecondition);
  std::vector<std::byte> bytes(0x2000);
  EXPECT_TRUE(other->read(GuestAddress{0xf000}, bytes).ok());
  EXPECT_TRUE(other->resize_region(id, 16 << 12).code() == absl::StatusCode::kUnavailable);
  EXPECT_TRUE(lazy->finish().ok());
  EXPECT_TRUE(other->resize_region(id, 16 << 12).ok());
  EXPECT_TRUE(other->read(GuestAddress{0x3000}, std::span(bytes).first(0x1000)).ok());
  EXPECT_TRUE(std::ranges::equal(std::span(bytes).first(0x1000), SnapshotWorld::page_of(3)));
  EXPECT_TRUE(restore_snapshot(*other, *snapshot).ok());
  EXPECT_TRUE(other->remove_region(id, RemovePolicy::kWait).ok());
}

TEST_P(LazyRestoreTest, RefusesASecondOneLeasesAndWrongNumbers) {
  SnapshotWorld world;
  world.fill(3, 4);
  const auto snapshot = saved(world);
  SnapshotWorld other;
  const auto refused = [&](const LazyRestoreOptions& options) {
    return LazyRestore::start(other.memory(), snapshot, options).status();
  };
  EXPECT_EQ(refused({.fault_around_bytes = 0x3000}).code(), absl::StatusCode::kInvalidArgument);
  {
    const auto lease = other.memory().lease(range_of(other, 0), LeaseAccess::kRead);
    EXPECT_EQ(refused(touches_only()).code(), absl::StatusCode::kUnavailable);
  }
  SnapshotWorld third({{.begin = 0x10000, .pages = 65}});
  EXPECT_EQ(LazyRestore::start(third.memory(), snapshot).status().code(),
            absl::StatusCode::kFailedPrecondition);
  auto lazy = started(other, snapshot);
  const absl::Status second = refused(touches_only());
  EXPECT_EQ(second.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(second.message()), HasSubstr("LazyRestore::finish()"));
  EXPECT_TRUE(lazy->finish().ok());
  lazy = started(other, snapshot);
  EXPECT_EQ(other.bytes(), world.bytes());
}

TEST_P(LazyRestoreTest, SharedMemoryIsEagerUnlessSomebodyVouches) {
  for (const LazyShared shared : {LazyShared::kEager, LazyShared::kLazy}) {
    std::vector<TestRegion> regions = two_regions();
    regions[1].backing = Backing::kMemfd;
    SnapshotWorld world(regions);
    fill_some(world);
    const auto snapshot = saved(world);
    SnapshotWorld other(regions);
    for (std::uint64_t page = 0; page < 300; ++page) other.fill(page, 5000 + page);
    LazyRestoreOptions options = touches_only();
    options.shared = shared;
    const auto lazy = started(other, snapshot, options);
    const LazyStatistics statistics = lazy->statistics();
    EXPECT_EQ(statistics.absent + statistics.eager, snapshot->info().data_pages);
    EXPECT_EQ(statistics.eager == 0, shared == LazyShared::kLazy);
    EXPECT_NE(statistics.absent, 0);
    EXPECT_EQ(page_at(other, 1310), SnapshotWorld::page_of(1310));
    EXPECT_EQ(page_at(other, 500), SnapshotWorld::page_of(0));
    other.discard(1311);
    world.discard(1311);
    EXPECT_EQ(page_at(other, 1311), SnapshotWorld::page_of(0));
    EXPECT_TRUE(lazy->finish().ok());
    EXPECT_EQ(other.bytes(), world.bytes());
  }
}

TEST_P(LazyRestoreTest, HugePagesAreOffUntilItIsDone) {
  const std::vector<TestRegion> huge = {
      {.begin = 0, .pages = 1024, .huge_pages = HugePageAdvice::kAlways}};
  SnapshotWorld world(huge);
  world.fill(700, 4);
  SnapshotWorld other(huge);
  const auto lazy = started(other, saved(world));
  const std::byte* const host = other.memory().map()->sections()[0].host;
  EXPECT_TRUE(vm_test::has_flag(host, "nh"));
  page_at(other, 10);
  EXPECT_TRUE(lazy->finish().ok());
  for (const std::byte* const at : {host, host + 700 * vm_test::kSnapshotPage}) {
    EXPECT_TRUE(vm_test::has_flag(at, "hg"));
    for (const char* const flag : {"nh", "um", "dc"}) EXPECT_FALSE(vm_test::has_flag(at, flag));
  }
}

TEST_P(LazyRestoreTest, AChildOfForkDoesNotSeeZerosInstead) {
  SnapshotWorld world;
  world.fill(3, 4);
  SnapshotWorld other;
  const auto lazy = started(other, saved(world));
  std::byte* const host = other.memory().map()->sections()[0].host;
  const pid_t child = ::fork();
  if (child == 0) {
    ::_exit(vm_test::is_readable(host) ? 1 : 0);
  }
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(other.bytes(), world.bytes());
}

TEST_P(LazyRestoreTest, WhatComesIsNoWriteOfTheGuests) {
  SnapshotWorld world(two_regions());
  fill_some(world);
  SnapshotWorld other(two_regions());
  const auto before = other.memory().add_dirty_client("before");
  const auto lazy = started(other, saved(world));
  const auto after = other.memory().add_dirty_client("after");
  EXPECT_EQ(page_at(other, 50), SnapshotWorld::page_of(51));
  EXPECT_TRUE(lazy->finish().ok());
  other.fill(60, 1);
  DirtyPages pages;
  ASSERT_TRUE(other.memory().harvest_dirty(*after, other.ids()[1], pages).ok());
  EXPECT_EQ(pages.page_count(), 1);
  ASSERT_TRUE(other.memory().harvest_dirty(*before, other.ids()[1], pages).ok());
  EXPECT_EQ(pages.page_count(), 1400);
}

// What one thread does to its own pages, and what it should find there.
void work(SnapshotWorld& world, std::vector<std::vector<std::byte>>& model, unsigned thread,
          unsigned threads) {
  std::mt19937 random(thread);
  for (int step = 0; step < 300; ++step) {
    const std::uint64_t page =
        std::uniform_int_distribution<std::uint64_t>(0, model.size() - 1)(random);
    const auto choice = std::uniform_int_distribution(0, 9)(random);
    if (page % threads != thread || choice < 5) {
      // Of another thread's page, a read alone, of what may be either.
      std::vector<std::byte> bytes(vm_test::kSnapshotPage);
      EXPECT_TRUE(world.memory().read(world.address_of(page), bytes).ok());
      if (page % threads != thread) continue;
      EXPECT_EQ(bytes, model[page]) << page;
    } else if (choice < 8) {
      const std::uint64_t seed = thread * 100000ULL + static_cast<unsigned>(step) + 1;
      world.fill(page, seed);
      model[page] = SnapshotWorld::page_of(seed);
    } else if (choice == 8) {
      world.discard(page);
      model[page] = SnapshotWorld::page_of(0);
    } else {
      const auto lease = world.memory().lease(
          *GuestRange::make(world.address_of(page), vm_test::kSnapshotPage), LeaseAccess::kRead);
      if (!lease.ok()) continue;  // somebody discards
      EXPECT_TRUE(std::ranges::equal(lease->bytes(), model[page])) << page;
    }
  }
}

TEST_P(LazyRestoreTest, ThreadsFindWhatTheModelSays) {
  constexpr unsigned kThreads = 4;
  for (unsigned round = 0; round < 6; ++round) {
    std::mt19937 random(round + 100);
    const auto up_to = [&](std::uint64_t most) {
      return std::uniform_int_distribution<std::uint64_t>(0, most)(random);
    };
    const std::vector<TestRegion> regions = {{.begin = 0, .pages = 1 + up_to(100)},
                                             {.begin = 0x1000000, .pages = 1 + up_to(2000)}};
    SnapshotWorld world(regions);
    const std::uint64_t pages = world.page_count();
    for (int i = 0; i < 200; ++i) {
      const std::uint64_t first = up_to(pages - 1);
      for (std::uint64_t page = first; page < std::min(pages, first + 1 + up_to(8)); ++page) {
        world.fill(page, up_to(1) * (page + 1));
      }
    }
    std::vector<std::vector<std::byte>> model;
    for (std::uint64_t page = 0; page < pages; ++page) model.push_back(page_at(world, page));
    const auto snapshot = saved(world);
    SnapshotWorld other(regions);
    const auto lazy = started(other, snapshot,
                              {.faults = GetParam(),
                               .fill = round % 2 == 0,
                               .fault_around_bytes = std::uint64_t{4096} << up_to(6),
                               .io = kIo});
    std::vector<std::thread> threads;
    for (unsigned i = 0; i < kThreads; ++i) {
      threads.emplace_back([&, i] { work(other, model, i, kThreads); });
    }
    if (round % 3 == 0) {
      EXPECT_TRUE(lazy->finish().ok());
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_TRUE(lazy->finish().ok());
    for (std::uint64_t page = 0; page < pages; ++page) {
      ASSERT_EQ(page_at(other, page), model[page]) << page;
    }
  }
}

TEST_P(LazyRestoreTest, AllThreadsThatTouchOnePageGoOn) {
  SnapshotWorld world(two_regions());
  fill_some(world);
  const auto snapshot = saved(world);
  for (int round = 0; round < 10; ++round) {
    SnapshotWorld other(two_regions());
    const auto lazy = started(other, snapshot);
    std::vector<std::thread> threads;
    for (int i = 0; i < 12; ++i) {  // more than there are buffers
      threads.emplace_back([&] {
        for (std::uint64_t page = 40; page < 1400; page += 30) {
          EXPECT_EQ(page_at(other, page), page_at(world, page));
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
  }
}

}  // namespace
}  // namespace vm_mem
