#include "vm_mem/memory_lease.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "tests/support/guest_range.h"
#include "tests/vm_mem/scripted_device.h"
#include "vm_mem/memory_manager.h"

namespace vm_mem {
namespace {

using vm_test::range;

class MemoryLeaseTest : public testing::Test {
 protected:
  MemoryManager& mm() { return *memory_; }
  RegionId ram() const { return ram_; }
  std::uint64_t leases_of(RegionId region) { return mm().region_info(region)->leases; }
  std::uint64_t dirty() { return mm().dirty_page_count(ram_).value(); }
  MemoryLease lease(std::uint64_t begin, std::uint64_t bytes,
                    LeaseAccess access = LeaseAccess::kReadWrite) {
    return mm().lease(range(begin, bytes), access).value();
  }
  void expect_refused(const absl::Status& status, absl::StatusCode code, const char* message) {
    EXPECT_EQ(status.code(), code);
    EXPECT_EQ(status.message(), message);
    EXPECT_EQ(mm().leases(), 0u);
    EXPECT_EQ(leases_of(ram_), 0u);
  }
  void forget_manager() { memory_.reset(); }

 private:
  std::unique_ptr<MemoryManager> memory_ = MemoryManager::create({}).value();
  RegionId ram_ =
      memory_->add_ram(range(0x10000, 0x8000), {.dirty_tracking = DirtyTracking::kOn}).value();
};

TEST_F(MemoryLeaseTest, ShowsTheGuestsBytes) {
  MemoryLease window = lease(0x11008, 16);
  EXPECT_EQ(window.range(), range(0x11008, 16));
  EXPECT_EQ(window.generation(), mm().generation());
  EXPECT_TRUE(window.current());
  ASSERT_EQ(window.bytes().size(), 16u);
  window.bytes()[3] = std::byte{0x5a};
  std::uint8_t byte = 0;
  ASSERT_TRUE(mm().load(GuestAddress{0x1100b}, byte).ok());
  EXPECT_EQ(byte, 0x5a);
}

TEST_F(MemoryLeaseTest, IsCountedWhileItLives) {
  {
    const MemoryLease one = lease(0x10000, 1);
    const MemoryLease two = lease(0x10000, 0x8000, LeaseAccess::kRead);
    EXPECT_EQ(mm().leases(), 2u);
    EXPECT_EQ(leases_of(ram()), 2u);
    EXPECT_EQ(mm().statistics().leases, 2u);
  }
  EXPECT_EQ(mm().leases(), 0u);
  EXPECT_EQ(leases_of(ram()), 0u);
  EXPECT_EQ(mm().statistics().leases, 0u);
}

TEST_F(MemoryLeaseTest, MovedFromOrReleasedItHasNothing) {
  MemoryLease first = lease(0x10000, 0x1000);
  MemoryLease second = std::move(first);
  EXPECT_TRUE(first.bytes().empty());  // NOLINT: that is what is tested
  EXPECT_FALSE(first.current());
  EXPECT_EQ(first.mark_dirty(0, 1).message(), "the lease is released");
  first.release();
  EXPECT_EQ(mm().leases(), 1u);
  first = std::move(second);
  EXPECT_EQ(first.bytes().size(), 0x1000u);
  EXPECT_EQ(mm().leases(), 1u);
  first = lease(0x12000, 0x1000);
  EXPECT_EQ(mm().leases(), 1u);
  first.release();
  EXPECT_TRUE(first.bytes().empty());
  EXPECT_TRUE(first.range().empty());
  EXPECT_EQ(first.mark_dirty(0, 0).code(), absl::StatusCode::kFailedPrecondition);
  first.release();
  EXPECT_EQ(mm().leases(), 0u);
}

TEST_F(MemoryLeaseTest, MarksTheWholeWindowWhenItIsReleased) {
  MemoryLease window = lease(0x10fff, 0x1002);
  EXPECT_EQ(dirty(), 0u);
  window.release();
  EXPECT_EQ(dirty(), 3u);
}

TEST_F(MemoryLeaseTest, MarksWhatItIsToldAndNoMore) {
  MemoryLease window = lease(0x10000, 0x8000);
  ASSERT_TRUE(window.mark_dirty(0x1000, 0x10).ok());
  EXPECT_EQ(dirty(), 1u);
  ASSERT_TRUE(window.mark_dirty(0x3000, 1).ok());
  EXPECT_EQ(dirty(), 2u);
  window.release();  // the span of both
  EXPECT_EQ(dirty(), 3u);
}

TEST_F(MemoryLeaseTest, SaysThatNothingWasWritten) {
  MemoryLease window = lease(0x10000, 0x8000);
  ASSERT_TRUE(window.mark_dirty(0, 0).ok());
  window.release();
  EXPECT_EQ(dirty(), 0u);
  lease(0x10000, 0x8000, LeaseAccess::kRead).release();
  EXPECT_EQ(dirty(), 0u);
}

TEST_F(MemoryLeaseTest, MarksWhereTrackingBeganLater) {
  const RegionId late = mm().add_ram(range(0x40000, 0x2000)).value();
  MemoryLease window = lease(0x40000, 0x2000);
  ASSERT_TRUE(mm().set_dirty_tracking(late, DirtyTracking::kOn).ok());
  window.release();
  EXPECT_EQ(mm().dirty_page_count(late).value(), 2u);
}

TEST_F(MemoryLeaseTest, RefusesMarksOutsideTheWindowOrOfAReader) {
  MemoryLease window = lease(0x10800, 0x1000);
  EXPECT_EQ(window.mark_dirty(0xfff, 2).message(),
            "0x2 bytes at offset 0xfff are not inside a window of 0x1000 bytes");
  EXPECT_EQ(window.mark_dirty(UINT64_MAX, 2).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(window.mark_dirty(1, UINT64_MAX).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(dirty(), 0u);
  EXPECT_EQ(lease(0x10000, 1, LeaseAccess::kRead).mark_dirty(0, 1).message(),
            "the lease is for reading");
}

TEST_F(MemoryLeaseTest, RefusesWhatIsNotMemoryOrNotPermitted) {
  ScriptedDevice device;
  ASSERT_TRUE(mm().add_mmio(range(0x18000, 0x1000), &device).ok());
  ASSERT_TRUE(mm().add_rom(range(0x1a000, 0x1000), {}).ok());
  const auto refused = [&](GuestRange window, LeaseAccess access) {
    return mm().lease(window, access).status();
  };
  expect_refused(refused(range(0x10000, 0), LeaseAccess::kRead), absl::StatusCode::kInvalidArgument,
                 "empty range at 0x10000");
  expect_refused(refused(range(0x8000, 0x1000), LeaseAccess::kRead), absl::StatusCode::kNotFound,
                 "nothing is mapped at 0x8000");
  expect_refused(refused(range(0x17fff, 2), LeaseAccess::kRead),
                 absl::StatusCode::kFailedPrecondition, "region 0x2 at 0x18000 is a device");
  expect_refused(refused(range(0x1a000, 8), LeaseAccess::kReadWrite),
                 absl::StatusCode::kPermissionDenied,
                 "writing of region 0x3 at 0x1a000 is not permitted");
  EXPECT_TRUE(mm().lease(range(0x1a000, 0x1000), LeaseAccess::kRead).ok());
  ASSERT_TRUE(mm().set_protection(ram(), Protection::kNone).ok());
  expect_refused(refused(range(0x10000, 8), LeaseAccess::kRead),
                 absl::StatusCode::kPermissionDenied,
                 "reading of region 0x1 at 0x10000 is not permitted");
}

TEST_F(MemoryLeaseTest, CrossesSectionsThatContinueEachOtherInTheHost) {
  ASSERT_TRUE(mm().add_alias(range(0x8000, 0x4000), ram(), 0x0000).ok());
  ASSERT_TRUE(mm().add_alias(range(0xc000, 0x4000), ram(), 0x4000).ok());
  MemoryLease window = lease(0xbff0, 0x20);
  EXPECT_EQ(leases_of(ram()), 1u);  // in two sections
  window.release();
  EXPECT_EQ(dirty(), 2u);
  expect_refused(mm().lease(range(0xf000, 0x2000), LeaseAccess::kRead).status(),
                 absl::StatusCode::kFailedPrecondition,
                 "of range [0xf000, 0x11000) only 0x1000 bytes are contiguous in the host");
}

TEST_F(MemoryLeaseTest, ALeasedRegionIsBusy) {
  MemoryLease window = lease(0x10000, 0x1000);
  const MemoryLease other = lease(0x10000, 0x1000);
  const auto map = mm().map();
  const absl::Status busy = mm().remove_region(ram(), RemovePolicy::kRefuse);
  EXPECT_EQ(busy.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(busy.message(), "region 0x1 is held by 0x2 leases");
  EXPECT_EQ(mm().map(), map);
  EXPECT_TRUE(window.current());
  EXPECT_TRUE(mm().lease(range(0x10000, 1), LeaseAccess::kRead).ok());
}

TEST_F(MemoryLeaseTest, AnAliasIsBusyWhileLeasedThroughIt) {
  const RegionId alias = mm().add_alias(range(0x40000, 0x1000), ram(), 0).value();
  {
    const MemoryLease direct = lease(0x10000, 8);
    EXPECT_EQ(leases_of(alias), 0u);
    const MemoryLease window = lease(0x40000, 8);
    EXPECT_EQ(leases_of(alias), 1u);
    EXPECT_EQ(leases_of(ram()), 2u);
    EXPECT_EQ(mm().remove_region(alias, RemovePolicy::kRefuse).message(),
              "region 0x2 is held by 0x1 leases");
  }
  EXPECT_TRUE(mm().remove_region(alias, RemovePolicy::kRefuse).ok());
}

TEST_F(MemoryLeaseTest, AChangeWithABusyRemovalChangesNothing) {
  const MemoryLease window = lease(0x10000, 8);
  const absl::Status status = mm().change([&]() -> absl::Status {
    EXPECT_TRUE(mm().add_ram(range(0x80000, 0x1000)).ok());
    return mm().remove_region(ram(), RemovePolicy::kRefuse);
  });
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(mm().map()->sections().size(), 1u);
}

// Leased after the call said yes, and before the change is published.
TEST_F(MemoryLeaseTest, ALeaseThatComesBetweenStopsTheWholeChange) {
  MemoryLease window;
  const absl::Status status = mm().change([&]() -> absl::Status {
    EXPECT_TRUE(mm().remove_region(ram(), RemovePolicy::kRefuse).ok());
    window = lease(0x10000, 8);
    return mm().add_ram(range(0x80000, 0x1000)).status();
  });
  EXPECT_EQ(status.message(), "region 0x1 is held by 0x1 leases");
  EXPECT_EQ(mm().map()->sections().size(), 1u);
  EXPECT_TRUE(window.current());
  EXPECT_TRUE(mm().lease(range(0x10000, 1), LeaseAccess::kRead).ok());
}

TEST_F(MemoryLeaseTest, ALeaseThatComesBetweenStopsACut) {
  MemoryLease window;
  const absl::Status status = mm().change([&]() -> absl::Status {
    const absl::Status cut = mm().resize_region(ram(), 0x4000);
    window = lease(0x17000, 8);
    window.bytes()[0] = std::byte{7};
    return cut;
  });
  EXPECT_EQ(status.message(), "region 0x1 is held by 0x1 leases");
  EXPECT_EQ(window.bytes()[0], std::byte{7});
  EXPECT_TRUE(window.current());
  window.release();
  EXPECT_TRUE(mm().resize_region(ram(), 0x4000).ok());
  EXPECT_TRUE(mm().lease(range(0x10000, 1), LeaseAccess::kRead).ok());
}

// Closed for its cut, which must not open it again.
TEST_F(MemoryLeaseTest, ARegionMayBeCutAndRemovedInOneChange) {
  ASSERT_TRUE(mm().change([&]() -> absl::Status {
                    EXPECT_TRUE(mm().resize_region(ram(), 0x4000).ok());
                    return mm().remove_region(ram(), RemovePolicy::kRefuse);
                  })
                  .ok());
  EXPECT_EQ(mm().lease(range(0x10000, 1), LeaseAccess::kRead).status().code(),
            absl::StatusCode::kNotFound);
}

TEST_F(MemoryLeaseTest, RemovalWaitsForTheLastLease) {
  MemoryLease window = lease(0x10000, 0x1000);
  std::atomic<bool> removed{false};
  std::thread remover([&] {
    EXPECT_TRUE(mm().remove_region(ram(), RemovePolicy::kWait).ok());
    removed.store(true);
  });
  while (mm().map()->find(GuestAddress{0x10000}) != nullptr) std::this_thread::yield();
  EXPECT_FALSE(removed.load());
  EXPECT_FALSE(window.current());
  EXPECT_EQ(mm().lease(range(0x10000, 1), LeaseAccess::kRead).status().code(),
            absl::StatusCode::kNotFound);
  window.bytes()[0] = std::byte{1};  // still there
  EXPECT_EQ(mm().wait_until_unused(ram(), std::chrono::milliseconds(1)).message(),
            "region 0x1 is still used, by 0x1 leases among others");
  window.release();
  remover.join();
  EXPECT_TRUE(mm().wait_until_unused(ram(), std::chrono::milliseconds(0)).ok());
}

TEST_F(MemoryLeaseTest, IsNoLongerCurrentOnceItsRegionLiesOtherwise) {
  const MemoryLease window = lease(0x10000, 8);
  ASSERT_TRUE(mm().add_ram(range(0x80000, 0x1000)).ok());
  EXPECT_TRUE(window.current());  // somebody else's change
  ASSERT_TRUE(mm().move_region(ram(), GuestAddress{0x20000}).ok());
  EXPECT_FALSE(window.current());
  const MemoryLease moved = lease(0x20000, 8);
  ASSERT_TRUE(mm().set_protection(ram(), Protection::kRead).ok());
  EXPECT_FALSE(moved.current());
  EXPECT_TRUE(lease(0x20000, 8, LeaseAccess::kRead).current());
}

TEST_F(MemoryLeaseTest, RefusesToCutWhatIsLeased) {
  MemoryLease window = lease(0x10000, 8);
  EXPECT_EQ(mm().resize_region(ram(), 0x4000).message(), "region 0x1 is held by 0x1 leases");
  window.release();
  EXPECT_TRUE(mm().resize_region(ram(), 0x4000).ok());
}

TEST_F(MemoryLeaseTest, KeepsItsMemoryWhenTheManagerIsGone) {
  MemoryLease window = lease(0x10000, 0x1000);
  forget_manager();
  EXPECT_FALSE(window.current());
  window.bytes()[0] = std::byte{7};
  EXPECT_EQ(window.bytes()[0], std::byte{7});
  window.release();
}

// A removal that was let through never meets a lease, and the other way round.
TEST_F(MemoryLeaseTest, LeasesAndRemovalsExcludeEachOther) {
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> leased{0};
  std::vector<std::thread> lessors;
  for (const std::size_t own : {0x800u, 0x900u}) {
    lessors.emplace_back([&, own] {
      while (!stop.load()) {
        auto window = mm().lease(range(0x40000, 0x1000), LeaseAccess::kReadWrite);
        if (!window.ok()) {
          EXPECT_EQ(window.status().code(), absl::StatusCode::kNotFound);
          continue;
        }
        window->bytes()[own] = std::byte{1};
        leased.fetch_add(1);
      }
    });
  }
  std::uint64_t removed = 0;
  std::uint64_t busy = 0;
  while (removed < 200 || leased.load() < 200) {
    const RegionId id = mm().add_ram(range(0x40000, 0x1000)).value();
    if (removed % 2 == 0) {
      EXPECT_TRUE(mm().remove_region(id, RemovePolicy::kWait).ok());
    } else {
      absl::Status status = mm().remove_region(id, RemovePolicy::kRefuse);
      for (; !status.ok(); status = mm().remove_region(id, RemovePolicy::kRefuse)) {
        ASSERT_EQ(status.code(), absl::StatusCode::kUnavailable);
        ++busy;
        std::this_thread::yield();
      }
    }
    ++removed;
  }
  stop.store(true);
  for (std::thread& lessor : lessors) lessor.join();
  EXPECT_EQ(mm().leases(), 0u);
  RecordProperty("busy", std::to_string(busy));
}

// What a lease shows stays as it is, whoever discards or cuts at the same time.
TEST_F(MemoryLeaseTest, LeasesExcludeDiscardsAndCuts) {
  constexpr int kRounds = 2000;
  std::atomic<bool> stop{false};
  std::atomic<int> leased{0};
  std::thread lessor([&] {
    while (!stop.load()) {
      auto window = mm().lease(range(0x17000, 0x1000), LeaseAccess::kReadWrite);
      if (!window.ok()) continue;
      volatile std::byte* const byte = window->bytes().data();
      *byte = std::byte{9};
      for (int i = 0; i < 20; ++i) EXPECT_EQ(std::byte{*byte}, std::byte{9});
      leased.fetch_add(1);
    }
  });
  for (int done = 0; done < kRounds || leased.load() < kRounds; ++done) {
    const absl::Status status =
        done % 2 == 0 ? mm().discard(range(0x17000, 0x1000)) : mm().resize_region(ram(), 0x7000);
    EXPECT_TRUE(status.ok() || status.code() == absl::StatusCode::kUnavailable);
    EXPECT_TRUE(mm().resize_region(ram(), 0x8000).ok());
    std::this_thread::yield();
  }
  stop.store(true);
  lessor.join();
}

TEST_F(MemoryLeaseTest, DiscardsGoOnBesideLeasesOfOtherPages) {
  std::atomic<bool> stop{false};
  std::atomic<int> leased{0};
  std::vector<std::thread> lessors;
  for (const std::uint64_t page : {0x11000u, 0x12000u, 0x14000u}) {
    lessors.emplace_back([&, page] {
      while (!stop.load()) {
        const MemoryLease window = lease(page, 0x1000);
        leased.fetch_add(1);
      }
    });
  }
  for (int done = 0; done < 500 || leased.load() < 500; ++done) {
    EXPECT_TRUE(mm().discard(range(0x13000, 0x1000)).ok());
  }
  stop.store(true);
  for (std::thread& lessor : lessors) lessor.join();
}

// A change of the map makes a lessor start again, and what he gave up was not written.
// A lease that is current once a map was looked at shows what that map shows.
TEST_F(MemoryLeaseTest, IsNeverCurrentAcrossAChange) {
  const RegionId below = mm().add_ram(range(0x100000, 0x8000), {.priority = -1}).value();
  const RegionId above = mm().add_alias(range(0x100000, 0x4000), ram(), 0, {.priority = 1}).value();
  std::atomic<bool> done{false};
  std::thread mover([&] {
    for (int i = 0; i < 2000; ++i) {
      const GuestAddress to{0x100000u + (i % 2 == 0 ? 0x4000u : 0u)};
      EXPECT_TRUE(mm().move_region(above, to).ok());
    }
    done.store(true);
  });
  std::uint64_t current = 0;
  while (!done.load()) {
    const GuestAddress at{0x100000};
    const MemoryLease window = lease(at.value, 8, LeaseAccess::kRead);
    const auto map = mm().map();
    if (!window.current()) continue;
    ++current;
    ASSERT_EQ(map->find(at)->host, window.bytes().data());
  }
  mover.join();
  EXPECT_GT(current, 0u);
  EXPECT_TRUE(mm().remove_region(below, RemovePolicy::kRefuse).ok());
}

TEST_F(MemoryLeaseTest, MarksNothingWhereTheMapChangesMeanwhile) {
  std::atomic<bool> stop{false};
  std::thread changer([&] {
    while (!stop.load()) {
      const RegionId other = mm().add_ram(range(0x40000, 0x1000)).value();
      EXPECT_TRUE(mm().remove_region(other, RemovePolicy::kWait).ok());
    }
  });
  while (mm().generation() < 4000) {
    MemoryLease window = lease(0x10000, 0x8000);
    ASSERT_TRUE(window.mark_dirty(0, 0).ok());
  }
  stop.store(true);
  changer.join();
  EXPECT_EQ(dirty(), 0u);
}

}  // namespace
}  // namespace vm_mem
