#include "vm_mem/internal/discard.h"

#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "tests/support/guest_range.h"
#include "tests/vm_mem/scripted_device.h"
#include "vm_mem/memory_manager.h"

namespace vm_mem {
namespace {

using vm_test::range;

class DiscardTest : public testing::Test {
 protected:
  DiscardTest() {
    const std::vector<std::byte> ones(0x8000, std::byte{1});
    EXPECT_TRUE(mm().write(GuestAddress{0x10000}, ones).ok());
    EXPECT_TRUE(mm().set_dirty_tracking(low_, DirtyTracking::kOn).ok());
  }

  MemoryManager& mm() { return *memory_; }
  RegionId low() const { return low_; }
  int load(std::uint64_t at) {
    std::uint8_t value = 0;
    return mm().load(GuestAddress{at}, value).ok() ? value : -1;
  }
  void expect_refused(GuestRange what, absl::StatusCode code, const char* message) {
    const absl::Status status = mm().discard(what);
    EXPECT_EQ(status.code(), code);
    EXPECT_EQ(status.message(), message);
    EXPECT_EQ(load(0x13000), 1);
    EXPECT_EQ(mm().dirty_page_count(low()).value(), 0u);
  }

 private:
  std::unique_ptr<MemoryManager> memory_ = MemoryManager::create({}).value();
  RegionId low_ = memory_->add_ram(range(0x10000, 0x4000)).value();
  RegionId high_ = memory_->add_ram(range(0x14000, 0x4000), {.backing = Backing::kMemfd}).value();
};

TEST_F(DiscardTest, PagesReadAsZeroAndAreDirty) {
  ASSERT_TRUE(mm().discard(range(0x13000, 0x2000)).ok());
  EXPECT_EQ(load(0x12fff), 1);
  EXPECT_EQ(load(0x13000), 0);
  EXPECT_EQ(load(0x14fff), 0);
  EXPECT_EQ(load(0x15000), 1);
  EXPECT_EQ(mm().dirty_page_count(low()).value(), 1u);
  ASSERT_TRUE(mm().store(GuestAddress{0x13000}, std::uint8_t{3}).ok());
  EXPECT_EQ(load(0x13000), 3);
}

TEST_F(DiscardTest, AnAliasDiscardsWhatItShows) {
  ASSERT_TRUE(mm().add_alias(range(0x80000, 0x1000), low(), 0x2000).ok());
  ASSERT_TRUE(mm().discard(range(0x80000, 0x1000)).ok());
  EXPECT_EQ(load(0x12000), 0);
  EXPECT_EQ(load(0x11000), 1);
}

TEST_F(DiscardTest, RefusesPartsOfPages) {
  expect_refused(range(0x13000, 0x800), absl::StatusCode::kInvalidArgument,
                 "range [0x13000, 0x13800) does not begin and end at multiples of 0x1000");
  expect_refused(range(0x13000, 0), absl::StatusCode::kInvalidArgument, "empty range at 0x13000");
}

TEST_F(DiscardTest, RefusesAllWhereOnePageIsNotPlainRam) {
  expect_refused(range(0x13000, 0x6000), absl::StatusCode::kNotFound,
                 "nothing is mapped at 0x18000");
  ScriptedDevice device;
  ASSERT_TRUE(mm().add_mmio(range(0x18000, 0x1000), &device).ok());
  expect_refused(range(0x13000, 0x6000), absl::StatusCode::kFailedPrecondition,
                 "region 0x3 at 0x18000 is not RAM");
  ASSERT_TRUE(mm().set_protection(low(), Protection::kRead).ok());
  expect_refused(range(0x13000, 0x1000), absl::StatusCode::kPermissionDenied,
                 "writing of region 0x1 at 0x13000 is not permitted");
}

TEST_F(DiscardTest, RefusesPagesThatAreLeased) {
  MemoryLease window = mm().lease(range(0x12ff8, 0x10), LeaseAccess::kRead).value();
  const MemoryLease other = mm().lease(range(0x13ff8, 8), LeaseAccess::kRead).value();
  expect_refused(range(0x13000, 0x2000), absl::StatusCode::kUnavailable,
                 "0x1000 bytes at offset 0x3000 of region 0x1 are held by 0x2 leases");
  expect_refused(range(0x11000, 0x2000), absl::StatusCode::kUnavailable,
                 "0x2000 bytes at offset 0x1000 of region 0x1 are held by 0x1 leases");
  window.release();
  EXPECT_TRUE(mm().discard(range(0x11000, 0x2000)).ok());
}

TEST_F(DiscardTest, LeasesOfOtherPagesOfTheRegionDoNotStopIt) {
  const MemoryLease window = mm().lease(range(0x11000, 0x1000), LeaseAccess::kRead).value();
  EXPECT_TRUE(mm().discard(range(0x10000, 0x1000)).ok());
  EXPECT_TRUE(mm().discard(range(0x12000, 0x4000)).ok());
  EXPECT_EQ(load(0x10fff), 0);
  EXPECT_EQ(load(0x11000), 1);
  EXPECT_EQ(load(0x11fff), 1);
  EXPECT_EQ(load(0x12000), 0);
}

TEST_F(DiscardTest, ALeaseThroughAnAliasHoldsThePagesThatItShows) {
  ASSERT_TRUE(mm().add_alias(range(0x80000, 0x2000), low(), 0x2000).ok());
  const MemoryLease window = mm().lease(range(0x81000, 8), LeaseAccess::kRead).value();
  expect_refused(range(0x13000, 0x1000), absl::StatusCode::kUnavailable,
                 "0x1000 bytes at offset 0x3000 of region 0x1 are held by 0x1 leases");
  EXPECT_TRUE(mm().discard(range(0x12000, 0x1000)).ok());
  EXPECT_TRUE(mm().discard(range(0x80000, 0x1000)).ok());
}

TEST_F(DiscardTest, IsRefusedInsideAChange) {
  ASSERT_TRUE(mm().change([&] {
                    expect_refused(range(0x13000, 0x1000), absl::StatusCode::kFailedPrecondition,
                                   "memory is not discarded inside a change of the map");
                    return absl::OkStatus();
                  })
                  .ok());
}

}  // namespace
}  // namespace vm_mem
