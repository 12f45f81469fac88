// Writers, translators, harvests and watchers that come and go, all at once; and a model
// that says of each write what is to be told.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "tests/vm_mem/watch_recorder.h"
#include "vm_mem/code_watch.h"
#include "vm_mem/dirty_log.h"
#include "vm_mem/memory_manager.h"
#include "vm_mem/memory_reader.h"

namespace vm_mem {
namespace {

constexpr std::uint64_t kPages = 40;
constexpr std::uint64_t kBytes = kPages * kDirtyPageBytes;
constexpr std::uint64_t kChunks = kBytes / kCodeChunkBytes;

class CodeWatchManyTest : public testing::Test {
 protected:
  CodeWatch& watch() { return memory_->code_watch(); }
  DirtyLog& log() { return *memory_->map()->find(GuestAddress{0})->dirty_log; }

  std::unique_ptr<MemoryManager> memory_ = MemoryManager::create({}).value();
  RegionId ram_ =
      memory_
          ->add_ram(GuestRange::make(GuestAddress{0}, kBytes).value(),
                    {.dirty_tracking = DirtyTracking::kOn, .code_watch = CodeWatching::kOn})
          .value();
};

// Users of each chunk, and pages that are dirty.
class Model {
 public:
  std::vector<CodeWrite> write(const CodeRange& range, WriteCause cause) {
    std::vector<CodeWrite> told;
    const std::uint64_t end = range.offset + range.bytes;
    for (std::uint64_t at = range.offset; at < end;) {
      const std::uint64_t next = std::min(end, (at / kCodeChunkBytes + 1) * kCodeChunkBytes);
      dirty_[at / kDirtyPageBytes] = true;
      if (users_[at / kCodeChunkBytes] != 0) {
        if (!told.empty() && told.back().offset + told.back().bytes == at) {
          told.back().bytes += next - at;
        } else {
          told.push_back({range.region, at, next - at, cause});
        }
      }
      at = next;
    }
    return told;
  }
  void count(const CodeRange& range, int more) {
    for_each_chunk(range, [&](std::uint64_t chunk) { users_[chunk] += more; });
  }
  bool is_watched(std::uint64_t offset) const { return users_[offset / kCodeChunkBytes] != 0; }
  bool guards(std::uint64_t page) const {
    constexpr std::uint64_t kOfPage = kDirtyPageBytes / kCodeChunkBytes;
    const auto first = users_.begin() + static_cast<std::ptrdiff_t>(page * kOfPage);
    return std::any_of(first, first + kOfPage, [](int users) { return users != 0; });
  }
  std::uint64_t take_dirty() {
    const auto count = std::count(dirty_.begin(), dirty_.end(), true);
    dirty_.fill(false);
    return static_cast<std::uint64_t>(count);
  }

 private:
  template <typename Visit>
  static void for_each_chunk(const CodeRange& range, Visit visit) {
    const std::uint64_t last = (range.offset + range.bytes - 1) / kCodeChunkBytes;
    for (std::uint64_t chunk = range.offset / kCodeChunkBytes; chunk <= last; ++chunk) visit(chunk);
  }

  std::array<int, kChunks> users_{};
  std::array<bool, kPages> dirty_{};
};

TEST_F(CodeWatchManyTest, TellsWhatTheModelSays) {
  std::mt19937_64 random(6);
  Model model;
  vm_test::WatchRecorder recorder;
  ASSERT_EQ(watch().add_watcher(&recorder), absl::OkStatus());
  const DirtyClient client = memory_->add_dirty_client("model").value();
  MemoryReader device(*memory_, Route::kDma);
  std::vector<CodeRange> watched;
  DirtyPages pages;
  std::vector<std::byte> bytes(kBytes);
  const auto any_range = [&] {
    const std::uint64_t offset = random() % kBytes;
    const std::uint64_t most = random() % 8 == 0 ? kBytes : 200;
    return CodeRange{ram_, offset, 1 + random() % std::min(most, kBytes - offset)};
  };
  for (int step = 0; step < 4000; ++step) {
    const CodeRange range = any_range();
    const GuestAddress at{range.offset};
    const auto source = std::span(bytes).first(range.bytes);
    std::vector<CodeWrite> told;
    switch (random() % 8) {
      case 0:
        ASSERT_TRUE(watch().watch({&range, 1}).ok());
        model.count(range, 1);
        watched.push_back(range);
        break;
      case 1:
        if (watched.empty()) break;
        std::swap(watched[random() % watched.size()], watched.back());
        ASSERT_EQ(watch().release({&watched.back(), 1}), absl::OkStatus());
        model.count(watched.back(), -1);
        watched.pop_back();
        break;
      case 2:
        ASSERT_TRUE(memory_->write(at, source).ok());
        told = model.write(range, WriteCause::kCopy);
        break;
      case 3:
        ASSERT_TRUE(device.write(at, source).ok());
        told = model.write(range, WriteCause::kDma);
        break;
      case 4:
        ASSERT_TRUE(device.fill_block(at, std::byte{1}, range.bytes).ok());
        told = model.write(range, WriteCause::kDma);
        break;
      case 5:
        ASSERT_EQ(watch().written(ram_, range.offset, range.bytes), absl::OkStatus());
        told = model.write(range, WriteCause::kHost);
        break;
      case 6:
        ASSERT_EQ(memory_->harvest_dirty(client, ram_, pages), absl::OkStatus());
        ASSERT_EQ(pages.page_count(), model.take_dirty());
        break;
      default:
        ASSERT_EQ(watch().is_watched(ram_, range.offset), model.is_watched(range.offset));
        ASSERT_EQ(log().is_guarded(range.offset / kDirtyPageBytes),
                  model.guards(range.offset / kDirtyPageBytes));
    }
    ASSERT_EQ(recorder.take(), told) << "step " << step;
  }
  watch().remove_watcher(&recorder);
}

// Counts what it is told, and may be in the middle of it when it is removed.
class Counter : public CodeWatcher {
 public:
  ~Counter() override { alive_.store(false); }
  void code_written(std::span<const CodeWrite> writes) noexcept override {
    EXPECT_TRUE(alive_.load());
    count_.fetch_add(writes.size());
  }
  std::uint64_t count() const { return count_.load(); }

 private:
  std::atomic<bool> alive_{true};
  std::atomic<std::uint64_t> count_{0};
};

TEST_F(CodeWatchManyTest, NothingIsLostWhereAllRunAtOnce) {
  constexpr int kRounds = 400;
  constexpr std::uint64_t kAlways = 7 * kDirtyPageBytes;  // watched all the time
  Counter counter;
  ASSERT_EQ(watch().add_watcher(&counter), absl::OkStatus());
  ASSERT_TRUE(watch().watch(ram_, kAlways, 1).ok());
  const DirtyClient client = memory_->add_dirty_client("client").value();
  std::atomic<int> writing{2};
  std::array<std::atomic<bool>, kPages> found{};
  const auto write = [&] {
    MemoryReader reader(*memory_);
    for (int round = 0; round < kRounds; ++round) {
      for (std::uint64_t page = 0; page < kPages; ++page) {
        EXPECT_TRUE(reader.store(GuestAddress{page * kDirtyPageBytes}, std::uint64_t{1}).ok());
      }
    }
    writing.fetch_sub(1);
  };
  const auto translate = [&] {
    std::mt19937_64 random(7);
    while (writing.load() != 0) {
      const std::uint64_t offset = random() % (kBytes - 5000);
      EXPECT_TRUE(watch().watch(ram_, offset, 5000).ok());
      EXPECT_EQ(watch().release(ram_, offset, 5000), absl::OkStatus());
    }
  };
  const auto come_and_go = [&] {
    while (writing.load() != 0) {
      Counter passing;
      EXPECT_EQ(watch().add_watcher(&passing), absl::OkStatus());
      std::this_thread::yield();
      watch().remove_watcher(&passing);
    }
  };
  DirtyPages pages;
  const auto harvest = [&] {
    EXPECT_EQ(memory_->harvest_dirty(client, ram_, pages), absl::OkStatus());
    for (std::uint64_t page = 0; page < kPages; ++page) {
      if (pages.is_dirty(page)) found[page].store(true);
    }
  };
  std::vector<std::thread> threads;
  threads.emplace_back(write);
  threads.emplace_back(write);
  threads.emplace_back(translate);
  threads.emplace_back(translate);
  threads.emplace_back(come_and_go);
  while (writing.load() != 0) harvest();
  for (std::thread& thread : threads) thread.join();
  harvest();
  for (const auto& page : found) EXPECT_TRUE(page.load());
  EXPECT_GE(counter.count(), std::uint64_t{2 * kRounds});  // of kAlways alone
  EXPECT_EQ(watch().release(ram_, kAlways, 1), absl::OkStatus());
  for (std::uint64_t page = 0; page < kPages; ++page) EXPECT_FALSE(log().is_guarded(page));
  watch().remove_watcher(&counter);
}

}  // namespace
}  // namespace vm_mem
