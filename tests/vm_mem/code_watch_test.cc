#include "vm_mem/code_watch.h"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "tests/vm_mem/watch_recorder.h"
#include "vm_mem/dirty_log.h"
#include "vm_mem/foreign_writes.h"
#include "vm_mem/memory_manager.h"
#include "vm_mem/memory_reader.h"
#include "vm_mem/mmio_handler.h"

namespace vm_mem {
namespace {

using vm_test::PageGuard;
using vm_test::WatchRecorder;
using Writes = std::vector<CodeWrite>;

constexpr std::uint64_t kPage = 4096;
constexpr std::uint64_t kChunk = kCodeChunkBytes;
constexpr std::uint64_t kBytes = 64 * kPage;
constexpr std::uint64_t kBase = 0x8000'0000;

// One watched chunk, at kCode of a region of 64 pages.
class CodeWatchTest : public testing::Test {
 protected:
  static constexpr std::uint64_t kCode = 5 * kPage + 3 * kChunk;

  CodeWatchTest() { EXPECT_EQ(watch().add_watcher(&recorder_), absl::OkStatus()); }
  ~CodeWatchTest() override { watch().remove_watcher(&recorder_); }

  static GuestRange range(std::uint64_t at, std::uint64_t bytes) {
    return GuestRange::make(GuestAddress{at}, bytes).value();
  }
  static GuestAddress at(std::uint64_t offset) { return GuestAddress{kBase + offset}; }
  CodeWatch& watch() { return memory_->code_watch(); }
  DirtyLog& log() { return *memory_->map()->find(at(0))->dirty_log; }
  void watch_code(std::uint64_t offset = kCode, std::uint64_t bytes = kChunk) {
    ASSERT_TRUE(watch().watch(ram_, offset, bytes).ok());
    recorder_.take_guarded();
  }
  CodeWrite hit(WriteCause cause, std::uint64_t offset = kCode, std::uint64_t bytes = kChunk) {
    return {ram_, offset, bytes, cause};
  }

  std::unique_ptr<MemoryManager> memory_ = MemoryManager::create({}).value();
  RegionId ram_ = memory_->add_ram(range(kBase, kBytes), {.code_watch = CodeWatching::kOn}).value();
  WatchRecorder recorder_;
};

TEST_F(CodeWatchTest, TellsOfAWriteToAWatchedChunkAndOfNoOther) {
  watch_code();
  for (const std::uint64_t offset : {kCode - 8, kCode + kChunk, kCode - kPage, kCode + kPage}) {
    ASSERT_TRUE(memory_->store(at(offset), std::uint64_t{1}).ok());
  }
  EXPECT_EQ(recorder_.take(), Writes{});
  ASSERT_TRUE(memory_->store(at(kCode + 8), std::uint32_t{1}).ok());
  EXPECT_EQ(recorder_.take(), (Writes{hit(WriteCause::kStore, kCode + 8, 4)}));
  ASSERT_TRUE(memory_->store(at(kCode + 8), std::uint32_t{1}).ok());  // an equal value
  EXPECT_EQ(recorder_.take(), (Writes{hit(WriteCause::kStore, kCode + 8, 4)}));
}

TEST_F(CodeWatchTest, TellsNothingAfterTheLastRelease) {
  watch_code();
  watch_code();
  EXPECT_EQ(watch().release(ram_, kCode, kChunk), absl::OkStatus());
  ASSERT_TRUE(memory_->store(at(kCode), std::uint8_t{1}).ok());
  EXPECT_EQ(recorder_.take().size(), 1u);
  EXPECT_TRUE(watch().is_watched(ram_, kCode));
  EXPECT_EQ(watch().release(ram_, kCode, kChunk), absl::OkStatus());
  ASSERT_TRUE(memory_->store(at(kCode), std::uint8_t{1}).ok());
  EXPECT_EQ(recorder_.take(), Writes{});
  EXPECT_FALSE(watch().is_watched(ram_, kCode));
  EXPECT_FALSE(log().is_guarded(kCode / kPage));
}

// Every way of the manager and of a reader to write, each over all of the chunk and more.
TEST_F(CodeWatchTest, EveryAccessTells) {
  watch_code();
  MemoryReader reader(*memory_, Route::kEngine);
  const std::array<std::byte, 2 * kChunk> bytes{};
  const GuestAddress around = at(kCode - kChunk / 2);
  const Writes copied = {hit(WriteCause::kCopy)};
  const Writes stored = {hit(WriteCause::kStore, kCode, 8)};

  const auto by = [&](auto& memory) {
    std::uint64_t old = 0;
    bool exchanged = false;
    EXPECT_TRUE(memory.write(around, bytes).ok());
    EXPECT_EQ(recorder_.take(), copied);
    EXPECT_TRUE(memory.fill_block(around, std::byte{1}, bytes.size()).ok());
    EXPECT_EQ(recorder_.take(), copied);
    EXPECT_TRUE(memory.copy_block(around, at(0), bytes.size()).ok());
    EXPECT_EQ(recorder_.take(), copied);
    // Backward: the destination overlaps the end of its source.
    EXPECT_TRUE(memory.copy_block(around, at(kCode - kChunk), bytes.size()).ok());
    EXPECT_EQ(recorder_.take(), copied);
    EXPECT_TRUE(memory.copy_block(at(0), around, bytes.size()).ok());
    EXPECT_EQ(recorder_.take(), Writes{});
    EXPECT_TRUE(memory.store(at(kCode), std::uint64_t{7}).ok());
    EXPECT_EQ(recorder_.take(), stored);
    EXPECT_TRUE(memory.fetch_add(at(kCode), std::uint64_t{1}, old).ok());
    EXPECT_EQ(recorder_.take(), stored);
    old = 8;
    EXPECT_TRUE(memory.compare_exchange(at(kCode), old, std::uint64_t{9}, exchanged).ok());
    EXPECT_EQ(recorder_.take(), stored);
    EXPECT_TRUE(memory.compare_exchange(at(kCode), old, std::uint64_t{9}, exchanged).ok());
    EXPECT_EQ(recorder_.take(), Writes{});  // it did not store
    // Byte by byte, half of it in the chunk.
    EXPECT_TRUE(memory.store(at(kCode - 4), std::uint64_t{7}).ok());
    EXPECT_EQ(recorder_.take(), (Writes{hit(WriteCause::kStore, kCode, 4)}));
  };
  by(*memory_);
  by(reader);
  EXPECT_TRUE(reader.try_write(around, bytes));
  EXPECT_EQ(recorder_.take(), copied);
  EXPECT_TRUE(reader.try_write(around, bytes));  // by the slot that it remembers
  EXPECT_EQ(recorder_.take(), copied);
}

TEST_F(CodeWatchTest, RoutesAreCauses) {
  watch_code();
  const std::array<std::byte, kChunk> bytes{};
  ASSERT_TRUE(memory_->write(at(kCode), bytes, Route::kDma).ok());
  EXPECT_EQ(recorder_.take(), (Writes{hit(WriteCause::kDma)}));
  ASSERT_TRUE(memory_->fill_block(at(kCode), std::byte{1}, kChunk, Route::kSnapshot).ok());
  EXPECT_EQ(recorder_.take(), (Writes{hit(WriteCause::kRestore)}));
  MemoryReader device(*memory_, Route::kDma);
  ASSERT_TRUE(device.store(at(kCode), std::uint32_t{1}).ok());
  EXPECT_EQ(recorder_.take(), (Writes{hit(WriteCause::kDma, kCode, 4)}));
}

TEST_F(CodeWatchTest, ALongWriteTellsEachRunOfChunksExactly) {
  Writes expected;
  for (std::uint64_t page = 0; page < 60; page += 3) {
    watch_code(page * kPage, kChunk);
    watch_code(page * kPage + kPage - kChunk, 2 * kChunk);  // into the next page
    if (page != 0) expected.push_back(hit(WriteCause::kCopy, page * kPage, kChunk));
    expected.push_back(hit(WriteCause::kCopy, page * kPage + kPage - kChunk, 2 * kChunk));
  }
  expected.back().bytes = kChunk + 1;  // where the write ends
  const std::vector<std::byte> bytes(57 * kPage + kPage + 1 - kChunk);
  ASSERT_TRUE(memory_->write(at(kChunk), bytes).ok());
  EXPECT_EQ(recorder_.take(), expected);
}

TEST_F(CodeWatchTest, WhatOthersMarkTells) {
  watch_code();
  const CodeWrite page = hit(WriteCause::kHost);
  std::array<std::uint64_t, 1> words = {std::uint64_t{1} << kCode / kPage};
  log().merge_bitmap(words);
  EXPECT_EQ(recorder_.take(), Writes{page});
  words[0] = ~words[0];
  log().merge_bitmap(words);
  EXPECT_EQ(recorder_.take(), Writes{});
  const std::array<std::uint64_t, 2> pages = {kCode / kPage, 1000};
  EXPECT_EQ(log().merge_pages(pages), 1u);
  EXPECT_EQ(recorder_.take(), Writes{page});
  log().mark_page(kCode / kPage);
  EXPECT_EQ(recorder_.take(), Writes{page});
  log().mark_range(0, 64);
  EXPECT_EQ(recorder_.take(), Writes{page});
}

TEST_F(CodeWatchTest, ALeaseTellsOfWhatItSaysItWrote) {
  watch_code();
  MemoryLease lease = memory_->lease(range(kBase, kBytes), LeaseAccess::kReadWrite).value();
  EXPECT_EQ(lease.mark_dirty(kCode + 1, 2), absl::OkStatus());
  EXPECT_EQ(recorder_.take(), (Writes{hit(WriteCause::kHost, kCode + 1, 2)}));
  EXPECT_EQ(lease.mark_dirty(0, 8), absl::OkStatus());
  EXPECT_EQ(recorder_.take(), Writes{});
  lease.release();  // all that was said, as one
  EXPECT_EQ(recorder_.take(), (Writes{hit(WriteCause::kHost, kCode, 3)}));
  memory_->lease(range(kBase, kBytes), LeaseAccess::kReadWrite, WriteCause::kDma)->release();
  EXPECT_EQ(recorder_.take(), (Writes{hit(WriteCause::kDma)}));
  memory_->lease(range(kBase, kBytes), LeaseAccess::kRead)->release();
  EXPECT_EQ(recorder_.take(), Writes{});
}

TEST_F(CodeWatchTest, ForeignWritesTell) {
  watch_code();
  const std::array methods = {ForeignWriteMethod::kAllDirty};
  auto tracker = ForeignWriteTracker::watch(*memory_->map()->find(at(0)), methods).value();
  EXPECT_EQ(tracker.collect(), absl::OkStatus());
  EXPECT_EQ(recorder_.take(), Writes{hit(WriteCause::kHost)});
}

TEST_F(CodeWatchTest, WhatNobodySawIsToldByHand) {
  watch_code();
  EXPECT_EQ(watch().written(ram_, 0, kBytes, WriteCause::kRestore), absl::OkStatus());
  EXPECT_EQ(recorder_.take(), (Writes{hit(WriteCause::kRestore)}));
  EXPECT_TRUE(log().is_dirty(kBytes - 1));
  EXPECT_EQ(watch().written(ram_, 0, kBytes + 1).code(), absl::StatusCode::kOutOfRange);
}

TEST_F(CodeWatchTest, AliasesTellOfTheMemory) {
  watch_code();
  const std::uint64_t elsewhere = 0x1'0000'0000;
  ASSERT_TRUE(memory_->add_alias(range(elsewhere, 2 * kPage), ram_, kCode / kPage * kPage).ok());
  const GuestAddress alias{elsewhere + kCode % kPage};
  ASSERT_TRUE(memory_->store(alias, std::uint64_t{1}).ok());
  EXPECT_EQ(recorder_.take(), (Writes{hit(WriteCause::kStore, kCode, 8)}));
}

TEST_F(CodeWatchTest, DiscardTells) {
  watch_code();
  EXPECT_EQ(memory_->discard(range(kBase, kPage)), absl::OkStatus());
  EXPECT_EQ(recorder_.take(), Writes{});
  EXPECT_EQ(memory_->discard(range(kBase, kBytes)), absl::OkStatus());
  EXPECT_EQ(recorder_.take(), (Writes{hit(WriteCause::kDiscard)}));
}

TEST_F(CodeWatchTest, ChangesOfTheMapTell) {
  watch_code();
  EXPECT_EQ(memory_->set_protection(ram_, Protection::kRead), absl::OkStatus());
  EXPECT_EQ(recorder_.take(), (Writes{hit(WriteCause::kRemap)}));
  EXPECT_EQ(memory_->move_region(ram_, GuestAddress{0}), absl::OkStatus());
  EXPECT_EQ(recorder_.take(), (Writes{hit(WriteCause::kRemap)}));
  EXPECT_EQ(memory_->set_enabled(ram_, Enabled::kNo), absl::OkStatus());
  EXPECT_EQ(recorder_.take(), (Writes{hit(WriteCause::kUnmap)}));
  EXPECT_EQ(memory_->set_enabled(ram_, Enabled::kYes), absl::OkStatus());
  EXPECT_EQ(memory_->set_dirty_tracking(ram_, DirtyTracking::kOn), absl::OkStatus());
  EXPECT_TRUE(memory_->add_ram(range(kBase, kBytes)).ok());
  EXPECT_EQ(recorder_.take(), Writes{});
  EXPECT_EQ(memory_->remove_region(ram_, RemovePolicy::kWait), absl::OkStatus());
  EXPECT_EQ(recorder_.take(), (Writes{hit(WriteCause::kUnmap)}));
  EXPECT_EQ(watch().release(ram_, kCode, kChunk).code(), absl::StatusCode::kNotFound);
}

TEST_F(CodeWatchTest, AnAliasThatGoesTellsThatItIsUnmapped) {
  const RegionId alias = memory_->add_alias(range(0, kPage), ram_, kCode / kPage * kPage).value();
  watch_code();
  EXPECT_EQ(memory_->remove_region(alias, RemovePolicy::kWait), absl::OkStatus());
  EXPECT_EQ(recorder_.take(), (Writes{hit(WriteCause::kUnmap)}));
}

TEST_F(CodeWatchTest, WhatIsCutOffIsTold) {
  watch_code();
  EXPECT_EQ(memory_->resize_region(ram_, kPage), absl::OkStatus());
  EXPECT_EQ(recorder_.take(), (Writes{hit(WriteCause::kRemap)}));
  EXPECT_EQ(memory_->resize_region(ram_, kBytes), absl::OkStatus());  // with zeros
  EXPECT_EQ(recorder_.take(), (Writes{hit(WriteCause::kRemap)}));
  EXPECT_EQ(memory_->resize_region(ram_, kPage), absl::OkStatus());
  EXPECT_EQ(watch().release(ram_, kCode, kChunk), absl::OkStatus());
}

TEST_F(CodeWatchTest, RomIsWatchedWithoutMarks) {
  const RegionId rom = memory_->add_rom(range(0, kPage), {}).value();
  const CodeStamp stamp = watch().watch(rom, 64, 4).value();
  const std::array ranges = {CodeRange{rom, 64, 4}};
  EXPECT_TRUE(recorder_.take_guarded().empty());
  EXPECT_FALSE(watch().written_since(stamp, ranges));
  EXPECT_EQ(memory_->move_region(rom, GuestAddress{kPage}), absl::OkStatus());
  EXPECT_EQ(recorder_.take(), (Writes{{rom, 64, kChunk, WriteCause::kRemap}}));
  EXPECT_TRUE(watch().written_since(stamp, ranges));
  EXPECT_EQ(watch().written(rom, 65, 1), absl::OkStatus());
  EXPECT_EQ(recorder_.take(), (Writes{{rom, 65, 1, WriteCause::kHost}}));
  EXPECT_EQ(watch().release(rom, 64, 4), absl::OkStatus());
}

TEST_F(CodeWatchTest, WrittenSinceIsByChunk) {
  const CodeStamp before = watch().watch(ram_, kCode, 2 * kChunk).value();
  const std::array first = {CodeRange{ram_, kCode, 1}};
  const std::array second = {CodeRange{ram_, kCode + kChunk, 1}};
  ASSERT_TRUE(memory_->store(at(kCode + kChunk), std::uint8_t{1}).ok());
  EXPECT_FALSE(watch().written_since(before, first));
  EXPECT_TRUE(watch().written_since(before, second));
  EXPECT_FALSE(watch().written_since(watch().now(), second));
  EXPECT_EQ(watch().release(ram_, kCode, 2 * kChunk), absl::OkStatus());
  EXPECT_TRUE(watch().written_since(before, first));  // nobody would have told
}

TEST_F(CodeWatchTest, AMapThatChangesCountsAsWritten) {
  const CodeStamp before = watch().watch(ram_, kCode, 1).value();
  const std::array ranges = {CodeRange{ram_, kCode, 1}};
  EXPECT_EQ(memory_->set_protection(ram_, Protection::kRead), absl::OkStatus());
  EXPECT_TRUE(watch().written_since(before, ranges));
  EXPECT_EQ(memory_->remove_region(ram_, RemovePolicy::kRefuse), absl::OkStatus());
  EXPECT_TRUE(watch().written_since(watch().now(), ranges));
}

TEST_F(CodeWatchTest, PagesAreGuardedOnceAsAWhole) {
  ASSERT_TRUE(watch().watch(ram_, 2 * kPage - 4, 8).ok());
  EXPECT_EQ(recorder_.take_guarded(), (std::vector{CodeRange{ram_, kPage, 2 * kPage}}));
  EXPECT_TRUE(log().is_guarded(1));
  EXPECT_TRUE(log().is_guarded(2));
  EXPECT_FALSE(log().is_guarded(3));
  ASSERT_TRUE(watch().watch(ram_, kPage, 4).ok());
  EXPECT_TRUE(recorder_.take_guarded().empty());
}

TEST_F(CodeWatchTest, WhereSomebodyCannotLookNothingIsWatched) {
  bool can = false;
  int others = 0;
  PageGuard first([&] { return can; });
  PageGuard second([&] { return ++others != 0; });
  ASSERT_EQ(watch().add_watcher(&first), absl::OkStatus());
  ASSERT_EQ(watch().add_watcher(&second), absl::OkStatus());
  EXPECT_EQ(watch().watch(ram_, kCode, 1).status().code(), absl::StatusCode::kAborted);
  EXPECT_EQ(others, 0) << "asked after the first who could not";
  EXPECT_FALSE(watch().is_watched(ram_, kCode));
  EXPECT_FALSE(log().is_guarded(kCode / kPage));
  can = true;
  EXPECT_TRUE(watch().watch(ram_, kCode, 1).ok());
  EXPECT_EQ(others, 1);
  watch().remove_watcher(&first);
  watch().remove_watcher(&second);
}

// Whatever the order in which they came.
TEST_F(CodeWatchTest, WhoWaitsForThreadsIsAskedLast) {
  class Waiting : public PageGuard {
   public:
    using PageGuard::PageGuard;
    bool waits_for_threads() const noexcept override { return true; }
  };
  std::string asked;
  PageGuard first([&] { return !asked.append("first ").empty(); });
  Waiting waiting([&] { return !asked.append("waiting").empty(); });
  PageGuard last([&] { return !asked.append("last ").empty(); });
  const std::array<CodeWatcher*, 3> all = {&first, &waiting, &last};
  for (CodeWatcher* watcher : all) ASSERT_EQ(watch().add_watcher(watcher), absl::OkStatus());
  EXPECT_TRUE(watch().watch(ram_, kCode, 1).ok());
  EXPECT_EQ(asked, "first last waiting");
  for (CodeWatcher* watcher : all) watch().remove_watcher(watcher);
}

// One thread waits, its user counted; another fails, and must not settle the page for a third.
TEST_F(CodeWatchTest, AWatchThatFailsSettlesNothingForOthers) {
  std::atomic<int> asked{0};
  std::atomic<bool> go{false};
  PageGuard guard([&] {
    const int number = ++asked;
    while (number == 1 && !go) std::this_thread::yield();
    return number != 2;
  });
  ASSERT_EQ(watch().add_watcher(&guard), absl::OkStatus());
  std::thread waiting([&] { EXPECT_TRUE(watch().watch(ram_, kCode, 1).ok()); });
  while (asked == 0) std::this_thread::yield();
  EXPECT_EQ(watch().watch(ram_, kCode + kChunk, 1).status().code(), absl::StatusCode::kAborted);
  EXPECT_TRUE(watch().watch(ram_, kCode + kChunk, 1).ok());
  EXPECT_EQ(asked, 3);
  go = true;
  waiting.join();
  watch().remove_watcher(&guard);
}

TEST_F(CodeWatchTest, HarvestsTakeDirtyMarksAlone) {
  watch_code();
  EXPECT_EQ(memory_->set_dirty_tracking(ram_, DirtyTracking::kOn), absl::OkStatus());
  const DirtyClient client = memory_->add_dirty_client("client").value();
  DirtyPages pages;
  EXPECT_EQ(memory_->harvest_dirty(client, ram_, pages), absl::OkStatus());
  EXPECT_EQ(pages.page_count(), 0u);
  for (std::uint64_t page = 0; page < 64; ++page) {
    ASSERT_TRUE(memory_->store(at(page * kPage), std::uint8_t{1}).ok());
  }
  EXPECT_EQ(memory_->dirty_page_count(ram_).value(), 64u);
  EXPECT_EQ(memory_->harvest_dirty(client, ram_, pages), absl::OkStatus());
  EXPECT_EQ(pages.page_count(), 64u);
  EXPECT_EQ(memory_->dirty_page_count(ram_).value(), 0u);
  EXPECT_EQ(recorder_.take(), Writes{});
  ASSERT_TRUE(memory_->store(at(kCode), std::uint8_t{1}).ok());
  EXPECT_EQ(recorder_.take().size(), 1u);
  EXPECT_EQ(memory_->harvest_dirty(client, ram_, pages), absl::OkStatus());
  EXPECT_EQ(pages.page_count(), 1u);
}

TEST_F(CodeWatchTest, TrackingIsToldOfAndNotWatching) {
  EXPECT_FALSE(memory_->map()->find(at(0))->dirty_tracked);
  EXPECT_EQ(memory_->dirty_page_count(ram_).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(memory_->set_dirty_tracking(ram_, DirtyTracking::kOn), absl::OkStatus());
  EXPECT_TRUE(memory_->map()->find(at(0))->dirty_tracked);
}

TEST_F(CodeWatchTest, RefusesWhatCannotBeWatched) {
  const RegionId plain = memory_->add_ram(range(0, kPage)).value();
  const RegionId alias = memory_->add_alias(range(kPage, kPage), ram_, 0).value();
  const auto code = [&](RegionId region, std::uint64_t offset, std::uint64_t bytes) {
    return watch().watch(region, offset, bytes).status().code();
  };
  EXPECT_EQ(code(plain, 0, 1), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(code(alias, 0, 1), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(code(kRootContainer, 0, 1), absl::StatusCode::kNotFound);
  EXPECT_EQ(code(RegionId{99}, 0, 1), absl::StatusCode::kNotFound);
  EXPECT_EQ(code(ram_, 0, 0), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code(ram_, kBytes, 1), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(code(ram_, 1, ~std::uint64_t{0}), absl::StatusCode::kOutOfRange);
}

TEST_F(CodeWatchTest, AFailedCallWatchesNothing) {
  const std::array ranges = {CodeRange{ram_, kCode, 1}, CodeRange{ram_, kBytes, 1}};
  EXPECT_FALSE(watch().watch(ranges).ok());
  EXPECT_FALSE(watch().is_watched(ram_, kCode));
  watch_code();
  const std::array half = {CodeRange{ram_, kCode, 1}, CodeRange{ram_, 0, 1}};
  EXPECT_EQ(watch().release(half).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(watch().is_watched(ram_, kCode));
}

TEST_F(CodeWatchTest, TheManagersOptionIsForAllRam) {
  const auto memory = MemoryManager::create({.code_watch = CodeWatching::kOn}).value();
  const RegionId ram = memory->add_ram(range(0, kPage)).value();
  EXPECT_TRUE(memory->code_watch().watch(ram, 0, 1).ok());
}

TEST_F(CodeWatchTest, WatchersAreLimitedAndUnique) {
  EXPECT_EQ(watch().add_watcher(nullptr).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(watch().add_watcher(&recorder_).code(), absl::StatusCode::kInvalidArgument);
  std::array<WatchRecorder, CodeWatch::kMaxWatchers> others;
  for (std::size_t i = 0; i + 1 < others.size(); ++i) {
    EXPECT_EQ(watch().add_watcher(&others[i]), absl::OkStatus());
  }
  EXPECT_EQ(watch().add_watcher(&others.back()).code(), absl::StatusCode::kResourceExhausted);
  watch_code();
  watch().remove_watcher(&others[3]);
  ASSERT_TRUE(memory_->store(at(kCode), std::uint8_t{1}).ok());
  EXPECT_EQ(others[2].take().size(), 1u);
  EXPECT_EQ(others[3].take().size(), 0u);
  EXPECT_EQ(watch().add_watcher(&others.back()), absl::OkStatus());
  for (WatchRecorder& other : others) watch().remove_watcher(&other);
}

// As a translator does with what it hears.
class Releaser : public CodeWatcher {
 public:
  explicit Releaser(CodeWatch& watch) : watch_(watch) {}
  void code_written(std::span<const CodeWrite> writes) noexcept override {
    for (const CodeWrite& write : writes) {
      EXPECT_EQ(watch_.release(write.region, write.offset, write.bytes), absl::OkStatus());
      EXPECT_TRUE(watch_.watch(write.region, 0, 1).ok());
    }
  }

 private:
  CodeWatch& watch_;
};

TEST_F(CodeWatchTest, AWatcherMayReleaseAndWatch) {
  Releaser releaser(watch());
  ASSERT_EQ(watch().add_watcher(&releaser), absl::OkStatus());
  watch_code();
  ASSERT_TRUE(memory_->store(at(kCode), std::uint8_t{1}).ok());
  EXPECT_FALSE(watch().is_watched(ram_, kCode));
  EXPECT_TRUE(watch().is_watched(ram_, 0));
  watch().remove_watcher(&releaser);
}

TEST_F(CodeWatchTest, ALeaseMayOutliveTheManager) {
  watch_code();
  MemoryLease lease = memory_->lease(range(kBase, kPage), LeaseAccess::kReadWrite).value();
  watch().remove_watcher(&recorder_);
  memory_.reset();
  lease.release();
  EXPECT_EQ(recorder_.take(), Writes{});
  memory_ = MemoryManager::create({}).value();
}

TEST_F(CodeWatchTest, RegionsThatAreNotWatchableCostNoLog) {
  ASSERT_TRUE(memory_->add_ram(range(0, kPage)).ok());
  EXPECT_EQ(memory_->map()->find(GuestAddress{0})->dirty_log, nullptr);
}

}  // namespace
}  // namespace vm_mem
