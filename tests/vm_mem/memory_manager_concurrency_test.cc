// What threads may see of each other, and of changes of the map under their feet.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "tests/support/guest_range.h"
#include "vm_mem/memory_manager.h"
#include "vm_mem/memory_reader.h"

namespace vm_mem {
namespace {

using vm_test::range;

// Runs `body` on a thread of its own until this object is gone.
class Repeated {
 public:
  template <typename Body>
  explicit Repeated(Body body)
      : thread_([this, body] {
          while (!stop_.load(std::memory_order_relaxed)) {
            body();
            rounds_.fetch_add(1, std::memory_order_relaxed);
          }
        }) {}
  ~Repeated() {
    stop_.store(true, std::memory_order_relaxed);
    thread_.join();
  }
  // Waits until the body has run that many times.
  void reach(std::uint64_t rounds) const {
    while (rounds_.load(std::memory_order_relaxed) < rounds) std::this_thread::yield();
  }

 private:
  std::atomic<bool> stop_{false};
  std::atomic<std::uint64_t> rounds_{0};
  std::thread thread_;
};

class MemoryManagerConcurrencyTest : public testing::Test {
 protected:
  MemoryManager& mm() { return *memory_; }

 private:
  std::unique_ptr<MemoryManager> memory_ = MemoryManager::create({}).value();
};

TEST_F(MemoryManagerConcurrencyTest, AReleaseStoreIsSeenAfterTheBytesBeforeIt) {
  ASSERT_TRUE(mm().add_ram(range(0, 0x4000)).ok());
  std::uint64_t sent = 0;
  const Repeated writer([&] {
    ++sent;
    const std::vector<std::uint64_t> message(16, sent);
    EXPECT_TRUE(
        mm().write(GuestAddress{0x1000 + sent % 8 * 128}, std::as_bytes(std::span(message))).ok());
    EXPECT_TRUE(mm().store(GuestAddress{0}, sent, std::memory_order_release).ok());
  });
  std::vector<std::uint64_t> message(16);
  for (int i = 0; i < 5000; ++i) {
    std::uint64_t seen = 0;
    ASSERT_TRUE(mm().load(GuestAddress{0}, seen, std::memory_order_acquire).ok());
    if (seen == 0) continue;
    ASSERT_TRUE(
        mm().read(GuestAddress{0x1000 + seen % 8 * 128}, std::as_writable_bytes(std::span(message)))
            .ok());
    // Later messages may have overwritten it, earlier ones may not be left.
    EXPECT_GE(*std::min_element(message.begin(), message.end()), seen);
  }
}

TEST_F(MemoryManagerConcurrencyTest, ReadModifyWritesLoseNothing) {
  ASSERT_TRUE(mm().add_ram(range(0, 0x1000)).ok());
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([this] {
      for (int n = 0; n < 2000; ++n) {
        std::uint16_t old = 0;
        EXPECT_TRUE(mm().fetch_add(GuestAddress{0x10}, std::uint16_t{1}, old).ok());
        std::uint64_t expected = 0;
        bool exchanged = false;
        while (!exchanged) {
          const auto next = expected + 1;
          EXPECT_TRUE(mm().compare_exchange(GuestAddress{0x20}, expected, next, exchanged).ok());
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::uint16_t added = 0;
  std::uint64_t exchanged = 0;
  ASSERT_TRUE(mm().load(GuestAddress{0x10}, added).ok());
  ASSERT_TRUE(mm().load(GuestAddress{0x20}, exchanged).ok());
  EXPECT_EQ(added, 8000u);
  EXPECT_EQ(exchanged, 8000u);
}

// Readers, writers and copies that work on one half of memory and run into the other,
// whose regions come and go.
class ComingAndGoingTest : public MemoryManagerConcurrencyTest {
 protected:
  static constexpr std::uint64_t kStays = 0x1'0000;
  static constexpr std::uint64_t kGoes = 0x1'1000;

  ComingAndGoingTest() { EXPECT_TRUE(mm().add_ram(range(kStays, 0x1000)).ok()); }

  void add_and_remove(int rounds, RemovePolicy policy) {
    for (int i = 0; i < rounds; ++i) {
      const auto id = mm().add_ram(range(kGoes, 0x2000),
                                   {.backing = i % 2 == 0 ? Backing::kAnonymous : Backing::kMemfd,
                                    .dirty_tracking = DirtyTracking::kOn});
      ASSERT_TRUE(id.ok()) << id.status();
      const auto alias = mm().add_alias(range(0x8'0000, 0x1000), *id, 0x1000);
      ASSERT_TRUE(alias.ok()) << alias.status();
      const std::weak_ptr<const void> memory = mm().map()->find(GuestAddress{kGoes})->owner;
      ASSERT_TRUE(mm().remove_region(*alias, RemovePolicy::kRefuse).ok());
      ASSERT_TRUE(mm().remove_region(*id, policy).ok());
      EXPECT_TRUE(policy == RemovePolicy::kRefuse || memory.expired());
    }
  }

  // All of it, or what stays.
  static void expect_all_or_half(const AccessResult& result) {
    if (result.ok()) {
      EXPECT_EQ(result.done, 0x1800u);
    } else {
      EXPECT_EQ(result.fault, AccessFault::kUnmapped);
      EXPECT_EQ(result.done, 0x1000u);
      EXPECT_EQ(result.at, GuestAddress{kGoes});
    }
  }
};

TEST_F(ComingAndGoingTest, AccessesEndOnTheMapThatTheyBeganWith) {
  {
    const Repeated reader([this] {
      std::vector<std::byte> to(0x1800);
      expect_all_or_half(mm().read(GuestAddress{kStays}, to));
    });
    const Repeated writer([this] {
      const std::vector<std::byte> from(0x1800, std::byte{7});
      expect_all_or_half(mm().write(GuestAddress{kStays}, from));
      std::uint64_t word = 1;
      const AccessResult typed = mm().store(GuestAddress{kGoes + 0x800}, word);
      EXPECT_TRUE(typed.ok() || typed.fault == AccessFault::kUnmapped);
    });
    const Repeated copier([this] {
      const AccessResult copied =
          mm().copy_block(GuestAddress{kGoes}, GuestAddress{kStays}, 0x1000, Route::kDma);
      EXPECT_TRUE(copied.ok() || copied.done == 0);
    });
    reader.reach(1), writer.reach(1), copier.reach(1);
    add_and_remove(100, RemovePolicy::kRefuse);
    add_and_remove(100, RemovePolicy::kWait);
  }
  EXPECT_EQ(mm().map()->sections().size(), 1u);
}

TEST_F(ComingAndGoingTest, ReadersThatParkDoNotHoldUpARemoval) {
  const Repeated parking([reader = std::make_shared<MemoryReader>(mm())] {
    std::vector<std::byte> to(0x1800);
    expect_all_or_half(reader->read(GuestAddress{kStays}, to));
    reader->park();
  });
  const Repeated working([reader = std::make_shared<MemoryReader>(mm())] {
    std::vector<std::byte> to(0x1800);
    expect_all_or_half(reader->read(GuestAddress{kStays}, to));
  });
  parking.reach(1), working.reach(1);
  add_and_remove(100, RemovePolicy::kWait);
}

TEST_F(ComingAndGoingTest, SeveralThreadsMayChangeTheMap) {
  const auto change = [this](std::uint64_t begin) {
    return [this, begin] {
      const auto id = mm().add_ram(range(begin, 0x1000));
      ASSERT_TRUE(id.ok()) << id.status();
      EXPECT_TRUE(mm().store(GuestAddress{begin + 8}, std::uint32_t{1}).ok());
      EXPECT_TRUE(mm().remove_region(*id, RemovePolicy::kWait).ok());
      EXPECT_EQ(mm().store(GuestAddress{begin + 8}, std::uint32_t{1}).fault,
                AccessFault::kUnmapped);
    };
  };
  const Repeated one(change(0x20'0000));
  const Repeated two(change(0x30'0000));
  one.reach(100);
  two.reach(100);
}

}  // namespace
}  // namespace vm_mem
