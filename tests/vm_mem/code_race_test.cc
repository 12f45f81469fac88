// A translator that reads code beside a writer, once a round. A round is stale where the
// translation of the old bytes is still valid at its end: none by watch(), many in the
// controls, which read before they mark, or mark without a barrier.
#include <gtest/gtest.h>
#include <sched.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <iostream>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tests/support/sanitizers.h"
#include "vm_mem/code_watch.h"
#include "vm_mem/internal/process_barrier.h"
#include "vm_mem/internal/write_watch.h"
#include "vm_mem/memory_manager.h"
#include "vm_mem/memory_reader.h"

namespace vm_mem {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::uint64_t kCode = 2 * kDirtyPageBytes + 5 * kCodeChunkBytes;
constexpr std::uint64_t kBytes = 4 * kDirtyPageBytes;

// Whatever is reached first.
struct Limits {
  std::uint64_t stale;
  std::uint64_t rounds;
  std::chrono::milliseconds time;
};
constexpr Limits kOurs = {1, 20'000, std::chrono::milliseconds(500)};
constexpr Limits kControl = {10, ~std::uint64_t{0}, std::chrono::seconds(10)};

struct Score {
  std::uint64_t rounds = 0;
  std::uint64_t stale = 0;
};

void print(const std::string& what, const Score& score) {
  std::cout << "code_race: " << what << ": " << score.stale << " stale translations in "
            << score.rounds << " rounds\n";
}

std::vector<std::size_t> usable_cpus() {
  cpu_set_t cpus;
  CPU_ZERO(&cpus);
  sched_getaffinity(0, sizeof cpus, &cpus);
  std::vector<std::size_t> numbers;
  for (std::size_t cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &cpus)) numbers.push_back(cpu);
  }
  return numbers;
}

// This thread stays on one CPU while it lives: two that share one never race.
class Pinned {
 public:
  explicit Pinned(std::size_t cpu) {
    sched_getaffinity(0, sizeof before_, &before_);
    cpu_set_t only;
    CPU_ZERO(&only);
    CPU_SET(cpu, &only);
    sched_setaffinity(0, sizeof only, &only);
  }
  Pinned(const Pinned&) = delete;
  Pinned& operator=(const Pinned&) = delete;
  ~Pinned() { sched_setaffinity(0, sizeof before_, &before_); }

 private:
  cpu_set_t before_;
};

template <typename Done>
void wait_for(Done done) {
  for (int spins = 0; !done(); ++spins) {
    if (spins > 5000) std::this_thread::yield();
  }
}

void spin(std::uint64_t times) {
  for (std::atomic<std::uint64_t> i{0}; i.load(std::memory_order_relaxed) < times;) {
    i.store(i.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  }
}

// What a JIT keeps of one block.
class Translation : public CodeWatcher {
 public:
  void code_written(std::span<const CodeWrite>) noexcept override { valid_.store(false); }

  void enter(std::uint64_t code) {
    code_ = code;
    valid_.store(true);
  }
  void drop() { valid_.store(false); }
  bool is_stale(std::uint64_t code) const { return valid_.load() && code_ != code; }

 private:
  std::atomic<bool> valid_{false};
  std::uint64_t code_ = 0;
};

// Stores that miss: what is stored after them waits in the CPU's buffer, while loads go on.
class ColdStores {
 public:
  void operator()(std::uint64_t& random) {
    for (int i = 0; i < 6; ++i) {
      random = random * 6364136223846793005u + 1442695040888963407u;
      lines_[(random >> 40) % lines_.size()].value = static_cast<std::uint32_t>(i);
    }
  }

 private:
  struct alignas(64) Line {
    volatile std::uint32_t value;
  };
  std::vector<Line> lines_ = std::vector<Line>((32 << 20) / sizeof(Line));
};

// `write(value)` on a thread of its own; `translate()`, then `forget()`, on this one.
struct Sides {
  std::function<void(std::uint64_t)> write;
  std::function<void()> translate;
  std::function<void()> forget;
};

Score race(const Sides& sides, const Translation& translation, const Limits& most) {
  std::atomic<std::uint64_t> go{0};
  std::atomic<std::uint64_t> done{0};
  std::atomic<bool> stop{false};
  const std::vector<std::size_t> cpus = usable_cpus();
  ColdStores store_cold;
  std::thread writer([&] {
    const Pinned pinned(cpus[1]);
    std::uint64_t random = 2;
    for (std::uint64_t round = 1;; ++round) {
      wait_for([&] { return go.load() == round || stop.load(); });
      if (stop.load()) return;
      spin((random >> 50) % 128);
      store_cold(random);
      sides.write(round);
      done.store(round);
    }
  });
  const Pinned pinned(cpus[0]);
  Score score;
  std::uint64_t random = 1;
  const auto end = Clock::now() + most.time;
  while (score.stale < most.stale && score.rounds < most.rounds && Clock::now() < end) {
    const std::uint64_t round = ++score.rounds;
    random = random * 6364136223846793005u + 1442695040888963407u;
    go.store(round);
    spin((random >> 40) % 64);
    sides.translate();
    wait_for([&] { return done.load() == round; });
    if (translation.is_stale(round)) ++score.stale;
    sides.forget();
  }
  stop.store(true);
  writer.join();
  return score;
}

class CodeRaceTest : public testing::Test {
 protected:
  void SetUp() override {
    if (usable_cpus().size() < 2) GTEST_SKIP() << "one CPU: no two threads at the same time";
  }
  static bool reorders_here() {
    return !vm_test::kWithTsan && !vm_test::kWithAsan && std::getenv("VM_TEST_EMULATED") == nullptr;
  }
  static void expect_stale(const Score& score) {
    if (score.stale == 0 && score.rounds < 50'000) GTEST_SKIP() << "the host is too busy";
    EXPECT_GE(score.stale, 1u);
  }

  Translation translation_;
};

// Through a manager's watch().
class CodeRaceOfManagerTest : public CodeRaceTest {
 protected:
  CodeRaceOfManagerTest() {
    EXPECT_EQ(watch().add_watcher(&translation_), absl::OkStatus());
    EXPECT_TRUE(memory_->fill_block(GuestAddress{0}, std::byte{0}, kBytes).ok());
  }
  ~CodeRaceOfManagerTest() override { watch().remove_watcher(&translation_); }

  CodeWatch& watch() { return memory_->code_watch(); }
  std::uint64_t read_code() {
    std::uint64_t code = 0;
    EXPECT_TRUE(memory_->load(GuestAddress{kCode}, code).ok());
    return code;
  }
  void translate() {
    const CodeStamp stamp = watch().watch(ram_, kCode, 8).value();
    enter(read_code(), stamp);
  }
  void translate_too_early() {
    const std::uint64_t code = read_code();
    spin(20);
    enter(code, watch().watch(ram_, kCode, 8).value());
  }
  void enter(std::uint64_t code, CodeStamp stamp) {
    translation_.enter(code);
    const CodeRange range{ram_, kCode, 8};
    if (watch().written_since(stamp, {&range, 1})) translation_.drop();
  }
  void expect_none_stale(const std::string& name, std::function<void(std::uint64_t)> write) {
    const Score score = race(sides(std::move(write), [this] { translate(); }), translation_, kOurs);
    print(name, score);
    EXPECT_EQ(score.stale, 0u);
    EXPECT_GT(score.rounds, 0u);
  }
  Sides sides(std::function<void(std::uint64_t)> write, std::function<void()> translate) {
    return {std::move(write), std::move(translate),
            [this] { EXPECT_EQ(watch().release(ram_, kCode, 8), absl::OkStatus()); }};
  }

  std::unique_ptr<MemoryManager> memory_ = MemoryManager::create({}).value();
  RegionId ram_ = memory_
                      ->add_ram(GuestRange::make(GuestAddress{0}, kBytes).value(),
                                {.code_watch = CodeWatching::kOn})
                      .value();
  MemoryReader reader_{*memory_};
};

TEST_F(CodeRaceOfManagerTest, NoneIsStaleBesideStores) {
  expect_none_stale("store", [this](std::uint64_t value) {
    ASSERT_TRUE(reader_.store(GuestAddress{kCode}, value).ok());
  });
}

TEST_F(CodeRaceOfManagerTest, NoneIsStaleBesideCopies) {
  std::array<std::uint64_t, 8> line{};
  expect_none_stale("copy", [&](std::uint64_t value) {
    line.fill(value);
    ASSERT_TRUE(reader_.write(GuestAddress{kCode - 32}, std::as_bytes(std::span(line))).ok());
  });
}

TEST_F(CodeRaceOfManagerTest, NoneIsStaleBesideDma) {
  std::array<std::uint64_t, 512> page{};
  expect_none_stale("DMA", [&](std::uint64_t value) {
    page.fill(value);
    const auto bytes = std::as_bytes(std::span(page));
    ASSERT_TRUE(memory_->write(GuestAddress{kCode - 1024}, bytes, Route::kDma).ok());
  });
}

TEST_F(CodeRaceOfManagerTest, ManyAreStaleWhereTheCodeIsReadFirst) {
  const auto write = [this](std::uint64_t value) {
    ASSERT_TRUE(reader_.store(GuestAddress{kCode}, value).ok());
  };
  const Score score = race(sides(write, [this] { translate_too_early(); }), translation_, kControl);
  print("read, then mark (control)", score);
  expect_stale(score);
}

// The marks alone, so that the barrier can be left out.
class CodeRaceOfMarksTest : public CodeRaceTest {
 protected:
  CodeRaceOfMarksTest() {
    EXPECT_EQ(watchers_->add(&translation_), absl::OkStatus());
    log_.mark_range(0, kBytes / kDirtyPageBytes);
  }

  Score run(const std::function<void()>& barrier, const Limits& most) {
    const Sides sides = {[this](std::uint64_t value) {
                           code_.store(value, std::memory_order_relaxed);
                           log_.mark(kCode, sizeof value);
                         },
                         [&] {
                           watch_.retain(kCode, 8, &log_);
                           barrier();
                           const CodeStamp stamp{watchers_->last_stamp()};
                           translation_.enter(code_.load(std::memory_order_relaxed));
                           if (watch_.written_since(stamp, kCode, 8)) translation_.drop();
                         },
                         [this] { EXPECT_TRUE(watch_.release(kCode, 8, &log_)); }};
    return race(sides, translation_, most);
  }

  const RegionId region_{1};
  std::shared_ptr<internal::WatcherList> watchers_ = std::make_shared<internal::WatcherList>();
  internal::WriteWatch watch_{region_, kBytes, watchers_};
  DirtyLog log_{kBytes, &watch_};
  alignas(64) std::atomic<std::uint64_t> code_{0};
};

TEST_F(CodeRaceOfMarksTest, NoneIsStaleWithABarrier) {
  auto barrier = internal::ProcessBarrier::make();
  if (!barrier.ok()) GTEST_SKIP() << std::string(barrier.status().message());
  const Score score = run([&] { ASSERT_EQ(barrier->run(), absl::OkStatus()); }, kOurs);
  print("marks and a barrier", score);
  EXPECT_EQ(score.stale, 0u);
}

TEST_F(CodeRaceOfMarksTest, ManyAreStaleWithoutABarrier) {
  if (!reorders_here()) GTEST_SKIP() << "a sanitizer or an emulator parts the store from the load";
  const Score score = run([] {}, kControl);
  print("no barrier (control)", score);
  expect_stale(score);
}

}  // namespace
}  // namespace vm_mem
