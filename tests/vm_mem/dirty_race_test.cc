// Harvests beside a writer that looks at a mark before it sets it. A page whose copy is
// stale after the last harvest is a mark that got lost: none with the barrier, many in
// the control, which clears and reads without it.
#include <gtest/gtest.h>
#include <sched.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/mark_race.h"
#include "tests/support/sanitizers.h"
#include "tests/vm_mem/tracked_region.h"
#include "vm_mem/internal/dirty_book.h"
#include "vm_mem/internal/dirty_kernels.h"
#include "vm_mem/memory_manager.h"

namespace vm_mem {
namespace {

using internal::BarrierForm;
using internal::DirtyBook;
using vm_test::kRacePages;
using vm_test::RaceReader;
using vm_test::RaceScore;
using vm_test::run_race;

constexpr std::uint64_t kNever = ~std::uint64_t{0};
constexpr std::uint64_t kWordsPerPage = kDirtyPageBytes / sizeof(std::uint64_t);

unsigned usable_cpus() {
  cpu_set_t cpus;
  CPU_ZERO(&cpus);
  sched_getaffinity(0, sizeof cpus, &cpus);
  return static_cast<unsigned>(CPU_COUNT(&cpus));
}

void print(const std::string& what, const RaceScore& score) {
  std::cout << "dirty_race: " << what << ": " << score.lost << " lost marks in " << score.bursts
            << " bursts\n";
}

// A region with a log, and writers that mark in line.
class DirtyRaceTest : public testing::Test {
 protected:
  DirtyRaceTest() {
    vm_test::publish_tracked_region(table_, kRacePages * kDirtyPageBytes);
    log_ = table_.find_dirty_log(kRegion).value();
    reader_.read = [this](std::uint64_t page) {
      return word(page).load(std::memory_order_relaxed);
    };
  }
  void SetUp() override {
    if (usable_cpus() < 2) GTEST_SKIP() << "one CPU: no two threads at the same time";
  }
  DirtyLog& log() { return *log_; }
  std::atomic<std::uint64_t>& word(std::uint64_t page) { return memory_[page * kWordsPerPage]; }

  auto write_in_line() {
    return [&memory = memory_, &log = log()](std::uint64_t page, std::uint64_t value) {
      memory[page * kWordsPerPage].store(value, std::memory_order_relaxed);
      log.mark_page(page);
    };
  }

  void run_with(BarrierForm form, const std::string& name) {
    const std::array allowed = {form};
    DirtyBook book(table_, allowed);
    const auto client = book.add("race", DirtyStart::kClean);
    if (!client.ok()) GTEST_SKIP() << std::string(client.status().message());
    DirtyPages pages;
    reader_.harvest = [&](const auto& found) {
      ASSERT_EQ(book.harvest(*client, kRegion, pages), absl::OkStatus());
      for (const DirtyRun& run : pages.runs()) {
        for (std::uint64_t page = run.first; page < run.end; ++page) found(page);
      }
    };
    const RaceScore score = run_race(
        write_in_line(), reader_, {.lost = 1, .bursts = 20'000, .time = std::chrono::seconds(2)});
    print(name, score);
    EXPECT_EQ(score.lost, 0u);
    EXPECT_GT(score.bursts, 0u);
  }

  static constexpr RegionId kRegion = vm_test::kTrackedRegion;
  internal::RegionTable table_{1};
  std::shared_ptr<DirtyLog> log_;
  std::vector<std::atomic<std::uint64_t>> memory_ =
      std::vector<std::atomic<std::uint64_t>>(kRacePages * kWordsPerPage);
  RaceReader reader_;
};

TEST_F(DirtyRaceTest, NoMarkIsLostWithMembarrier) {
  run_with(BarrierForm::kMembarrier, "membarrier");
}

TEST_F(DirtyRaceTest, NoMarkIsLostWithPageProtection) {
  run_with(BarrierForm::kPageProtection, "page protection");
}

TEST_F(DirtyRaceTest, ManyAreLostWithoutABarrier) {
  if (vm_test::kWithTsan) GTEST_SKIP() << "ThreadSanitizer's own locks are barriers";
  if (vm_test::kWithAsan) GTEST_SKIP() << "AddressSanitizer's checks part the store from the load";
  if (std::getenv("VM_TEST_EMULATED") != nullptr) {
    GTEST_SKIP() << "an emulator's code between the store and the load may order them";
  }
  std::array<std::uint64_t, internal::kWordGroup> words{};
  reader_.harvest = [&](const auto& found) {
    if (internal::active_dirty_kernels().collect(reinterpret_cast<std::byte*>(log().bytes()),
                                                 words.data(), words.size()) == 0) {
      return;
    }
    for (std::uint64_t page = 0; page < kRacePages; ++page) {
      if ((words[page / 64] >> page % 64 & 1) != 0) found(page);
    }
  };
  const RaceScore score = run_race(
      write_in_line(), reader_, {.lost = 1000, .bursts = kNever, .time = std::chrono::seconds(10)});
  print("no barrier (control)", score);
  if (score.lost == 0 && score.bursts < 10'000) GTEST_SKIP() << "the host is too busy";
  EXPECT_GE(score.lost, 1u);
}

TEST_F(DirtyRaceTest, NoMarkIsLostThroughTheManager) {
  const auto memory = MemoryManager::create({}).value();
  const auto range = GuestRange::make(GuestAddress{0}, kRacePages * kDirtyPageBytes).value();
  const RegionId ram = memory->add_ram(range, {.dirty_tracking = DirtyTracking::kOn}).value();
  const DirtyClient client = memory->add_dirty_client("race").value();
  DirtyPages pages;
  const auto write = [&](std::uint64_t page, std::uint64_t value) {
    ASSERT_TRUE(memory->store(GuestAddress{page * kDirtyPageBytes}, value).ok());
  };
  reader_.read = [&](std::uint64_t page) {
    std::uint64_t value = 0;
    EXPECT_TRUE(memory->load(GuestAddress{page * kDirtyPageBytes}, value).ok());
    return value;
  };
  reader_.harvest = [&](const auto& found) {
    ASSERT_EQ(memory->harvest_dirty(client, ram, pages), absl::OkStatus());
    for (const DirtyRun& run : pages.runs()) {
      for (std::uint64_t page = run.first; page < run.end; ++page) found(page);
    }
  };
  const RaceScore score =
      run_race(write, reader_, {.lost = 1, .bursts = 20'000, .time = std::chrono::seconds(2)});
  print("manager", score);
  EXPECT_EQ(score.lost, 0u);
}

}  // namespace
}  // namespace vm_mem
