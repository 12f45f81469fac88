// Everything at once: the map changes while readers, the manager's callers, copies as a
// device makes them, leases and a client that harvests dirty pages work. For VM_TEST_SOAK_SECONDS,
// or 2; tools/soak runs it for longer.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <iostream>
#include <memory>
#include <thread>
#include <vector>

#include "tests/support/guest_range.h"
#include "tests/support/mark_race.h"
#include "vm_mem/memory_lease.h"
#include "vm_mem/memory_manager.h"
#include "vm_mem/memory_reader.h"

namespace vm_mem {
namespace {

using vm_test::range;

constexpr std::uint64_t kPage = 4096;
constexpr std::uint64_t kStays = 0x10'0000;  // a region that is never taken away
constexpr std::uint64_t kStayPages = 64;
constexpr std::uint64_t kGoes = 0x80'0000;  // ones that come and go
constexpr std::uint64_t kWindow = 0x100'0000;
constexpr std::uint64_t kRaced = 0x200'0000;  // one that is written while it is harvested

std::chrono::seconds duration() {
  const char* const seconds = std::getenv("VM_TEST_SOAK_SECONDS");
  return std::chrono::seconds(seconds == nullptr ? 2 : std::atoi(seconds));
}

struct Counts {
  std::atomic<std::uint64_t> changes{0};
  std::atomic<std::uint64_t> accesses{0};
  std::atomic<std::uint64_t> copies{0};
  std::atomic<std::uint64_t> leases{0};
  std::atomic<std::uint64_t> harvests{0};
  std::atomic<std::uint64_t> lost_marks{0};
  std::atomic<std::uint64_t> wrong{0};
};

class SoakTest : public testing::Test {
 protected:
  SoakTest() {
    stays_ =
        memory_->add_ram(range(kStays, kStayPages * kPage), {.dirty_tracking = DirtyTracking::kOn})
            .value();
    raced_ = memory_
                 ->add_ram(range(kRaced, vm_test::kRacePages * kPage),
                           {.dirty_tracking = DirtyTracking::kOn})
                 .value();
    client_ = memory_->add_dirty_client("soak").value();
  }

  // Runs each body on a thread of its own until the time is over.
  static void run(const std::vector<std::function<void(std::uint64_t)>>& bodies) {
    const auto end = std::chrono::steady_clock::now() + duration();
    std::vector<std::thread> threads;
    for (const auto& body : bodies) {
      threads.emplace_back([&body, end] {
        for (std::uint64_t n = 1; std::chrono::steady_clock::now() < end; ++n) body(n);
        body(0);  // the last time
      });
    }
    for (std::thread& thread : threads) thread.join();
  }

  // A region, a window on it, a few settings, and away with both.
  void change_map(std::uint64_t n) {
    const auto ram =
        memory_->add_ram(range(kGoes + n % 3 * kPage, 4 * kPage),
                         {.backing = n % 2 == 0 ? Backing::kAnonymous : Backing::kMemfd,
                          .dirty_tracking = DirtyTracking::kOn,
                          .priority = static_cast<int>(n % 4)});
    require(ram.ok());
    const auto window = memory_->add_alias(range(kWindow, kPage), *ram, kPage);
    require(window.ok());
    require(memory_->set_protection(*ram, Protection::kRead).ok());
    require(memory_->move_region(*ram, GuestAddress{kGoes}).ok());
    require(memory_
                ->change([&] {
                  require(memory_->set_protection(*ram, Protection::kReadWrite).ok());
                  return memory_->set_enabled(*window, Enabled::kNo);
                })
                .ok());
    require(memory_->remove_region(*window, RemovePolicy::kRefuse).ok());
    require(memory_->remove_region(*ram, RemovePolicy::kWait).ok());
    counts_.changes += 7;
  }

  // What stays holds what this thread stored last; what goes answers one way or the other.
  template <typename Front>
  void access(Front& front, std::uint64_t slot, std::uint64_t n) {
    const GuestAddress at{kStays + n % kStayPages * kPage + 8 * slot};
    std::uint64_t word = 0;
    require(front.store(at, n + 1).ok());
    require(front.load(at, word).ok() && word == n + 1);
    const AccessResult gone = front.store(GuestAddress{kGoes + n % 8 * kPage}, n);
    require(gone.ok() || gone.fault == AccessFault::kUnmapped ||
            gone.fault == AccessFault::kReadOnly);
    const AccessResult seen = front.load(GuestAddress{kWindow + 8 * slot}, word);
    require(seen.ok() || seen.fault == AccessFault::kUnmapped);
    counts_.accesses += 4;
  }

  // As a device does, in pieces that cross into what goes.
  void copy(std::uint64_t n) {
    const GuestAddress to{kGoes + n % 5000};
    const AccessResult copied =
        memory_->copy_block(to, GuestAddress{kStays}, 3 * kPage, Route::kDma);
    require(copied.ok() || copied.done < 3 * kPage);
    ++counts_.copies;
  }

  void lease(std::uint64_t n) {
    const std::uint64_t at = n % 2 == 0 ? kStays : kGoes;
    auto lease = memory_->lease(range(at + kPage, kPage), LeaseAccess::kRead);
    if (!lease.ok()) return;
    require(lease->bytes().size() == kPage && lease->range() == range(at + kPage, kPage));
    lease->release();
    ++counts_.leases;
  }

  // Copies what a client is told of, beside a writer of its own: a page that is stale when
  // the writer pauses is a mark that got lost.
  void race_for_marks() {
    const auto write = [this](std::uint64_t page, std::uint64_t value) {
      require(memory_->store(GuestAddress{kRaced + page * kPage}, value).ok());
    };
    const auto read = [this](std::uint64_t page) {
      std::uint64_t value = 0;
      require(memory_->load(GuestAddress{kRaced + page * kPage}, value).ok());
      return value;
    };
    constexpr std::uint64_t kNoLimit = ~std::uint64_t{0};
    counts_.lost_marks =
        vm_test::run_race(write, {[this](const auto& found) { harvest(found); }, read},
                          {kNoLimit, kNoLimit, duration()})
            .lost;
  }
  // Of every region, those that come and go included.
  void harvest(const std::function<void(std::uint64_t)>& found) {
    require(memory_->harvest_dirty(client_, regions_).ok());
    for (const DirtyRegion& each : regions_) {
      for (std::uint64_t page = 0; each.region == stays_ && page < kStayPages; ++page) {
        if (each.pages.is_dirty(page)) told_[page] = true;
      }
      for (std::uint64_t page = 0; each.region == raced_ && page < vm_test::kRacePages; ++page) {
        if (each.pages.is_dirty(page)) found(page);
      }
    }
    ++counts_.harvests;
  }

  void require(bool holds) { counts_.wrong += holds ? 0 : 1; }

  std::unique_ptr<MemoryManager> memory_ = MemoryManager::create({}).value();
  RegionId stays_{};
  RegionId raced_{};
  DirtyClient client_{};
  std::vector<DirtyRegion> regions_;
  std::array<bool, kStayPages> told_{};  // of stays_
  Counts counts_;
};

TEST_F(SoakTest, ChangesAccessesCopiesLeasesAndHarvestsGoOnTogether) {
  MemoryReader first(*memory_);
  std::thread harvester([&] { race_for_marks(); });
  run({[&](std::uint64_t n) { change_map(n); },
       [&](std::uint64_t n) {
         access(first, 0, n);
         if (n % 64 == 0) first.park();  // also when done: a removal may be waiting
       },
       [&](std::uint64_t n) { access(*memory_, 1, n); }, [&](std::uint64_t n) { copy(n); },
       [&](std::uint64_t n) { lease(n); }});
  harvester.join();
  harvest([](std::uint64_t) {});
  EXPECT_EQ(counts_.wrong, 0u);
  EXPECT_EQ(counts_.lost_marks, 0u);
  EXPECT_EQ(memory_->map()->sections().size(), 2u);
  EXPECT_GT(counts_.changes, 0u);
  EXPECT_GT(counts_.accesses, 0u);
  EXPECT_EQ(memory_->region_info(stays_)->leases, 0u);
  EXPECT_EQ(std::count(told_.begin(), told_.end(), true),
            static_cast<std::ptrdiff_t>(std::min<std::uint64_t>(kStayPages, counts_.accesses / 4)));
  std::cout << "  changes " << counts_.changes << ", accesses " << counts_.accesses << ", copies "
            << counts_.copies << ", leases " << counts_.leases << ", harvests " << counts_.harvests
            << ", lost marks " << counts_.lost_marks << ", wrong " << counts_.wrong << "\n";
}

}  // namespace
}  // namespace vm_mem
