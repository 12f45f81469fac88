// Clients that come, go and harvest beside writers and changes of the map: what a client
// is told in the end is all that was written.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/guest_range.h"
#include "vm_mem/dirty_log.h"
#include "vm_mem/memory_manager.h"

namespace vm_mem {
namespace {

using vm_test::range;

constexpr std::uint64_t kPages = 1024;
constexpr std::uint64_t kOther = 0x1000'0000;

class DirtyBookConcurrencyTest : public testing::Test {
 protected:
  // Harvests until the writers have finished, and once more; returns all that was told.
  std::vector<bool> told(const std::string& name) {
    const DirtyClient client = memory_->add_dirty_client(name).value();
    ready_.fetch_add(1);
    std::vector<bool> pages(kPages);
    DirtyPages found;
    for (bool last = false; !last;) {
      last = finished_.load();
      EXPECT_EQ(memory_->harvest_dirty(client, ram_, found), absl::OkStatus());
      for (const DirtyRun& run : found.runs()) {
        std::fill(pages.begin() + run.first, pages.begin() + run.end, true);
      }
    }
    return pages;
  }
  // Every page whose number leaves `rest` when it is divided by four.
  void write(std::uint64_t rest) {
    for (std::uint64_t page = rest; page < kPages; page += 4) {
      const GuestAddress at{page * kDirtyPageBytes + 8 * (page % 512)};
      ASSERT_TRUE(memory_->store(at, page).ok());
    }
  }
  void come_and_go() {
    for (int i = 0; !finished_.load(); ++i) {
      const auto client = memory_->add_dirty_client("guest" + std::to_string(i));
      ASSERT_TRUE(client.ok());
      const auto region = memory_->add_ram(range(kOther, 64 * kDirtyPageBytes),
                                           {.dirty_tracking = DirtyTracking::kOn});
      ASSERT_TRUE(region.ok());
      ASSERT_TRUE(memory_->store(GuestAddress{kOther}, i).ok());
      ASSERT_EQ(memory_->harvest_dirty(*client, all_), absl::OkStatus());
      ASSERT_TRUE(memory_->remove_region(*region, RemovePolicy::kRefuse).ok());
      ASSERT_TRUE(memory_->remove_dirty_client(*client).ok());
    }
  }

  std::unique_ptr<MemoryManager> memory_ = MemoryManager::create({}).value();
  RegionId ram_ =
      memory_->add_ram(range(0, kPages* kDirtyPageBytes), {.dirty_tracking = DirtyTracking::kOn})
          .value();
  std::vector<DirtyRegion> all_;
  std::atomic<int> ready_{0};
  std::atomic<bool> finished_{false};
};

TEST_F(DirtyBookConcurrencyTest, EveryClientIsToldAllThatWasWritten) {
  std::vector<bool> first;
  std::vector<bool> second;
  std::thread one([&] { first = told("one"); });
  std::thread two([&] { second = told("two"); });
  while (ready_.load() != 2) std::this_thread::yield();
  std::thread visitors([&] { come_and_go(); });
  std::thread even([&] { write(0); });
  std::thread odd([&] { write(1); });
  even.join();
  odd.join();
  finished_.store(true);
  visitors.join();
  one.join();
  two.join();
  std::vector<bool> wanted(kPages);
  for (std::uint64_t page = 0; page < kPages; ++page) wanted[page] = page % 4 < 2;
  EXPECT_EQ(first, wanted);
  EXPECT_EQ(second, wanted);
}

}  // namespace
}  // namespace vm_mem
