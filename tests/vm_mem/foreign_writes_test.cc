#include "vm_mem/foreign_writes.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include <vector>

#include "tests/support/guest_range.h"
#include "vm_mem/dirty_log.h"
#include "vm_mem/memory_manager.h"

namespace vm_mem {
namespace {

using vm_test::range;

constexpr std::uint64_t kPage = kDirtyPageBytes;
constexpr std::uint64_t kPages = 2000;

class ForeignWritesTest : public testing::TestWithParam<Backing> {
 protected:
  ForeignWritesTest() {
    ram_ = memory_
               ->add_ram(range(0, kPages * kPage),
                         {.backing = GetParam(), .dirty_tracking = DirtyTracking::kOn})
               .value();
    client_ = memory_->add_dirty_client("test").value();
  }
  const MapSection& section() { return *map_->find(GuestAddress{0}); }
  // Skips where the host lacks it.
  void watch_precisely() {
    map_ = memory_->map();
    constexpr std::array kPrecise = {ForeignWriteMethod::kWriteProtect};
    auto watched = ForeignWriteTracker::watch(section(), kPrecise);
    if (!watched.ok()) GTEST_SKIP() << std::string(watched.status().message());
    tracker_.emplace(*std::move(watched));
    EXPECT_EQ(tracker_->method(), ForeignWriteMethod::kWriteProtect);
    EXPECT_EQ(tracker_->reason(), "");
  }
  // As a library would that knows nothing of marks.
  void scribble(std::uint64_t page) {
    reinterpret_cast<volatile char&>(section().host[page * kPage + 100]) = 7;
  }
  std::vector<DirtyRun> harvest() {
    EXPECT_EQ(tracker_->collect(), absl::OkStatus());
    DirtyPages pages;
    EXPECT_EQ(memory_->harvest_dirty(client_, ram_, pages), absl::OkStatus());
    return {pages.runs().begin(), pages.runs().end()};
  }

  std::unique_ptr<MemoryManager> memory_ = MemoryManager::create({}).value();
  std::shared_ptr<const MemoryMap> map_ = memory_->map();
  RegionId ram_{};
  DirtyClient client_{};
  std::optional<ForeignWriteTracker> tracker_;
};

TEST_P(ForeignWritesTest, SeesWritesByPointer) {
  watch_precisely();
  if (!tracker_) return;
  EXPECT_THAT(harvest(), testing::IsEmpty());
  scribble(3);
  scribble(4);
  scribble(kPages - 1);
  EXPECT_THAT(harvest(), testing::ElementsAre(DirtyRun{3, 5}, DirtyRun{kPages - 1, kPages}));
  EXPECT_THAT(harvest(), testing::IsEmpty());
  scribble(3);
  EXPECT_THAT(harvest(), testing::ElementsAre(DirtyRun{3, 4}));
}

TEST_P(ForeignWritesTest, SeesWritesByTheKernel) {
  watch_precisely();
  if (!tracker_) return;
  const int zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);
  ASSERT_GE(zero, 0);
  EXPECT_EQ(read(zero, section().host + 10 * kPage + 5, 3 * kPage), ssize_t{3 * kPage});
  close(zero);
  EXPECT_THAT(harvest(), testing::ElementsAre(DirtyRun{10, 14}));
}

TEST_P(ForeignWritesTest, SeesMoreScatteredPagesThanOneAnswerHolds) {
  watch_precisely();
  if (!tracker_) return;
  for (std::uint32_t page = 0; page < kPages; page += 2) scribble(page);
  const std::vector<DirtyRun> runs = harvest();
  ASSERT_EQ(runs.size(), kPages / 2);
  for (std::uint32_t i = 0; i < runs.size(); ++i) {
    ASSERT_EQ(runs[i], (DirtyRun{2 * i, 2 * i + 1}));
  }
}

TEST_P(ForeignWritesTest, OutlivesTheRegion) {
  watch_precisely();
  if (!tracker_) return;
  ASSERT_TRUE(memory_->remove_region(ram_, RemovePolicy::kRefuse).ok());
  scribble(1);
  map_.reset();
  EXPECT_EQ(tracker_->collect(), absl::OkStatus());
}

TEST_P(ForeignWritesTest, AllDirtyMarksEverythingEveryTime) {
  map_ = memory_->map();
  constexpr std::array kCoarse = {ForeignWriteMethod::kAllDirty};
  tracker_.emplace(ForeignWriteTracker::watch(section(), kCoarse).value());
  EXPECT_EQ(tracker_->method(), ForeignWriteMethod::kAllDirty);
  EXPECT_THAT(harvest(), testing::ElementsAre(DirtyRun{0, kPages}));
  EXPECT_THAT(harvest(), testing::ElementsAre(DirtyRun{0, kPages}));
}

TEST_P(ForeignWritesTest, WorksInSomeWayOnEveryHost) {
  map_ = memory_->map();
  tracker_.emplace(ForeignWriteTracker::watch(section()).value());
  EXPECT_EQ(tracker_->method() == ForeignWriteMethod::kAllDirty, !tracker_->reason().empty());
  scribble(5);
  const std::vector<DirtyRun> runs = harvest();
  ASSERT_EQ(runs.size(), 1u);
  EXPECT_LE(runs[0].first, 5u);
  EXPECT_GT(runs[0].end, 5u);
}

INSTANTIATE_TEST_SUITE_P(PerBacking, ForeignWritesTest,
                         testing::Values(Backing::kAnonymous, Backing::kMemfd),
                         [](const auto& backing) {
                           return backing.param == Backing::kMemfd ? "memfd" : "anonymous";
                         });

TEST(ForeignWritesWatchTest, RefusesARegionWithoutALog) {
  const auto memory = MemoryManager::create({}).value();
  ASSERT_TRUE(memory->add_ram(range(0, kPage)).ok());
  const auto map = memory->map();
  const auto watched = ForeignWriteTracker::watch(*map->find(GuestAddress{0}));
  EXPECT_EQ(watched.status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST(ForeignWritesWatchTest, SaysWhatItWouldTake) {
  const auto memory = MemoryManager::create({}).value();
  ASSERT_TRUE(memory->add_ram(range(0, kPage), {.dirty_tracking = DirtyTracking::kOn}).ok());
  const auto map = memory->map();
  const auto watched = ForeignWriteTracker::watch(*map->find(GuestAddress{0}), {});
  EXPECT_EQ(watched.status().code(), absl::StatusCode::kUnimplemented);
  EXPECT_THAT(std::string(watched.status().message()), testing::HasSubstr("none is allowed"));
}

}  // namespace
}  // namespace vm_mem
