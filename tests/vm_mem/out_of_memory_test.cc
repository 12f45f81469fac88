// Every allocation of a change of the map fails once: the change is refused, and the map
// is as before.
#include <gtest/gtest.h>

#include <functional>
#include <memory>

#include "tests/support/failing_allocations.h"
#include "tests/support/guest_range.h"
#include "vm_mem/memory_manager.h"

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

}  // namespace
}  // namespace vm_mem
