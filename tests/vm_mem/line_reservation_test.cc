#include "vm_mem/line_reservation.h"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "tests/vm_mem/watch_recorder.h"
#include "vm_mem/dirty_log.h"
#include "vm_mem/memory_manager.h"
#include "vm_mem/memory_reader.h"

namespace vm_mem {
namespace {

constexpr std::uint64_t kPage = kDirtyPageBytes;
constexpr std::uint64_t kLine = kReservedLineBytes;
constexpr std::uint64_t kBytes = 32 * kPage;
constexpr std::uint64_t kWord = 3 * kPage + 5 * kLine + 16;

class LineReservationTest : public testing::Test {
 protected:
  DirtyLog& log() { return *memory_->map()->find(GuestAddress{0})->dirty_log; }
  void store(std::uint64_t offset) {
    ASSERT_TRUE(memory_->store(GuestAddress{offset}, std::uint8_t{1}).ok());
  }
  // LR, `between`, and what the SC would find.
  bool survives(const std::function<void()>& between) {
    const LineReservation reservation = log().reserve(kWord);
    between();
    const bool intact = log().is_intact(reservation);
    log().unreserve(reservation);
    return intact;
  }

  std::unique_ptr<MemoryManager> memory_ = MemoryManager::create({}).value();
  RegionId ram_ = memory_
                      ->add_ram(GuestRange::make(GuestAddress{0}, kBytes).value(),
                                {.code_watch = CodeWatching::kOn})
                      .value();
};

TEST_F(LineReservationTest, StoresToTheLineBreakItAndOthersDoNot) {
  for (int marked = 0; marked < 2; ++marked) {
    EXPECT_TRUE(survives([] {}));
    EXPECT_TRUE(survives([&] { store(kWord / kLine * kLine - 1); }));
    EXPECT_TRUE(survives([&] { store(kWord / kLine * kLine + kLine); }));
    EXPECT_TRUE(survives([&] { store(kWord + kPage); }));
    EXPECT_FALSE(survives([&] { store(kWord / kLine * kLine); }));
    EXPECT_FALSE(survives([&] { store(kWord / kLine * kLine + kLine - 1); }));
  }
}

TEST_F(LineReservationTest, EveryWriterBreaksIt) {
  const std::vector<std::byte> bytes(20 * kPage);
  MemoryReader device(*memory_, Route::kDma);
  std::uint64_t old = 0;
  const GuestRange all = GuestRange::make(GuestAddress{0}, kBytes).value();
  const std::array<std::uint64_t, 1> page = {kWord / kPage};
  const std::function<void()> writers[] = {
      [&] { EXPECT_TRUE(memory_->write(GuestAddress{kWord}, std::span(bytes).first(1)).ok()); },
      [&] { EXPECT_TRUE(memory_->write(GuestAddress{0}, bytes).ok()); },
      [&] { EXPECT_TRUE(memory_->copy_block(GuestAddress{kWord - 9}, GuestAddress{0}, 10).ok()); },
      [&] { EXPECT_TRUE(memory_->fill_block(GuestAddress{1}, std::byte{1}, 10 * kPage).ok()); },
      [&] { EXPECT_TRUE(memory_->fetch_add(GuestAddress{kWord}, std::uint64_t{0}, old).ok()); },
      [&] { EXPECT_TRUE(device.write(GuestAddress{kWord - 64}, std::span(bytes).first(65)).ok()); },
      [&] { memory_->lease(all, LeaseAccess::kReadWrite)->release(); },
      [&] { EXPECT_EQ(log().merge_pages(page), 1u); },
      [&] { EXPECT_EQ(memory_->discard(all), absl::OkStatus()); },
      [&] { EXPECT_EQ(memory_->code_watch().written(ram_, kWord, 1), absl::OkStatus()); },
  };
  for (const auto& writer : writers) EXPECT_FALSE(survives(writer)) << &writer - writers;
}

TEST_F(LineReservationTest, OfTwoHoldersOneStoreBreaksBoth) {
  const LineReservation one = log().reserve(kWord);
  const LineReservation two = log().reserve(kWord + 8);
  store(kWord);
  EXPECT_FALSE(log().is_intact(one));
  EXPECT_FALSE(log().is_intact(two));
  log().unreserve(one);
  EXPECT_TRUE(log().is_guarded(kWord / kPage));
  log().unreserve(two);
  EXPECT_FALSE(log().is_guarded(kWord / kPage));
}

TEST_F(LineReservationTest, APageIsSettledForAsLongAsItHasReservations) {
  vm_test::WatchRecorder recorder;
  ASSERT_TRUE(memory_->code_watch().add_watcher(&recorder).ok());
  const LineReservation one = log().reserve(kWord);
  LineReservation two = log().reserve(kWord + kLine);
  EXPECT_FALSE(one.is_settled);
  EXPECT_FALSE(two.is_settled) << "the first is not yet";
  EXPECT_TRUE(log().settle(two));
  EXPECT_TRUE(two.is_settled);
  const CodeRange page{ram_, kWord / kPage * kPage, kPage};
  EXPECT_EQ(recorder.take_guarded(), std::vector{page});
  log().unreserve(two);
  const LineReservation three = log().reserve(kWord);
  EXPECT_TRUE(three.is_settled);
  log().unreserve(one);
  log().unreserve(three);
  const LineReservation four = log().reserve(kWord);
  EXPECT_FALSE(four.is_settled);
  log().unreserve(four);
  memory_->code_watch().remove_watcher(&recorder);
}

TEST_F(LineReservationTest, WhatIsMarkedWhileThePageIsSettledDoesNotBreakIt) {
  bool can = false;
  vm_test::PageGuard guard([&] {
    store(kWord);
    return can;
  });
  ASSERT_TRUE(memory_->code_watch().add_watcher(&guard).ok());
  LineReservation reservation = log().reserve(kWord);
  EXPECT_FALSE(log().settle(reservation));
  EXPECT_FALSE(reservation.is_settled);
  can = true;
  EXPECT_TRUE(log().settle(reservation));
  EXPECT_TRUE(log().is_intact(reservation));
  store(kWord);
  EXPECT_FALSE(log().is_intact(reservation));
  log().unreserve(reservation);
  memory_->code_watch().remove_watcher(&guard);
}

TEST_F(LineReservationTest, OfTwoStoreConditionalsOneSucceeds) {
  const LineReservation one = log().reserve(kWord);
  const LineReservation two = log().reserve(kWord + 8);
  EXPECT_FALSE(log().store_if_intact(one, [] { return false; }));
  EXPECT_TRUE(log().is_intact(two)) << "broken by who did not store";
  EXPECT_TRUE(log().store_if_intact(one, [] { return true; }));
  bool called = false;
  EXPECT_FALSE(log().store_if_intact(two, [&] { return called = true; }));
  EXPECT_FALSE(called);
  log().unreserve(one);
  log().unreserve(two);
}

TEST_F(LineReservationTest, AStoreConditionalBesideAnotherWaitsForIt) {
  const LineReservation one = log().reserve(kWord);
  const LineReservation two = log().reserve(kWord + 8);
  std::thread other;
  EXPECT_TRUE(log().store_if_intact(one, [&] {
    std::atomic<bool> begun{false};
    other = std::thread([&] {
      begun = true;
      EXPECT_FALSE(log().store_if_intact(two, [] { return true; }));
    });
    while (!begun) std::this_thread::yield();
    for (int i = 0; i < 1000; ++i) std::this_thread::yield();
    return true;
  }));
  other.join();
  log().unreserve(one);
  log().unreserve(two);
}

TEST_F(LineReservationTest, ValuesThatComeBackBreakIt) {
  std::uint64_t old = 0;
  const auto there_and_back = [&] {
    ASSERT_TRUE(memory_->exchange(GuestAddress{kWord}, std::uint64_t{7}, old).ok());
    ASSERT_TRUE(memory_->exchange(GuestAddress{kWord}, old, old).ok());
  };
  EXPECT_FALSE(survives(there_and_back));
}

TEST_F(LineReservationTest, HarvestsLeaveItAlone) {
  EXPECT_EQ(memory_->set_dirty_tracking(ram_, DirtyTracking::kOn), absl::OkStatus());
  const DirtyClient client = memory_->add_dirty_client("client").value();
  store(kWord);
  DirtyPages pages;
  EXPECT_TRUE(survives([&] {
    EXPECT_EQ(memory_->harvest_dirty(client, ram_, pages), absl::OkStatus());
    EXPECT_EQ(pages.page_count(), 1u);
    EXPECT_TRUE(log().is_guarded(kWord / kPage));
  }));
}

// Half of the threads add by LR and SC, half by one read-modify-write.
TEST_F(LineReservationTest, NoAdditionIsLost) {
  constexpr int kThreads = 4;
  constexpr int kRounds = 3000;
  const auto add_exclusively = [&](MemoryReader& reader) {
    for (bool stored = false; !stored;) {
      const LineReservation reservation = log().reserve(kWord);
      std::uint64_t value = 0;
      EXPECT_TRUE(reader.load(GuestAddress{kWord}, value).ok());
      if (log().is_intact(reservation)) {
        EXPECT_TRUE(reader.compare_exchange(GuestAddress{kWord}, value, value + 1, stored).ok());
      }
      log().unreserve(reservation);
    }
  };
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] {
      MemoryReader reader(*memory_);
      std::uint64_t old = 0;
      for (int round = 0; round < kRounds; ++round) {
        if (i % 2 == 0) {
          add_exclusively(reader);
        } else {
          EXPECT_TRUE(reader.fetch_add(GuestAddress{kWord}, std::uint64_t{1}, old).ok());
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::uint64_t sum = 0;
  ASSERT_TRUE(memory_->load(GuestAddress{kWord}, sum).ok());
  EXPECT_EQ(sum, std::uint64_t{kThreads * kRounds});
  EXPECT_FALSE(log().is_guarded(kWord / kPage));
}

}  // namespace
}  // namespace vm_mem
