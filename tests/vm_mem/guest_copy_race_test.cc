// Two threads on the same guest words: a copy must see, and show, whole ones. The
// two values differ in every bit, so that any mixture is neither.

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <string>
#include <thread>

#include "vm_mem/guest_copy.h"
#include "vm_mem/internal/copy_kernels.h"

namespace vm_mem::internal {
namespace {

constexpr std::uint64_t kOld = 0;
constexpr std::uint64_t kNew = ~std::uint64_t{0};
constexpr std::array<std::size_t, 9> kLengths = {8, 16, 24, 40, 64, 136, 520, 1032, 4096};
constexpr std::size_t kWords = 4096 / 8;
constexpr int kRounds = 3000;

using CopyFn = void (*)(std::byte*, const std::byte*, std::size_t);

struct alignas(4096) GuestWords {
  std::array<std::uint64_t, kWords> words{};

  std::byte* bytes() { return reinterpret_cast<std::byte*>(words.data()); }
  std::uint64_t load(std::size_t i) { return __atomic_load_n(&words[i], __ATOMIC_RELAXED); }
  void store(std::size_t i, std::uint64_t v) { __atomic_store_n(&words[i], v, __ATOMIC_RELAXED); }
};

bool is_whole(std::uint64_t word) { return word == kOld || word == kNew; }

// Runs `step` again and again on another vCPU, from before the constructor returns
// until this object goes.
template <typename Step>
class OtherVcpu {
 public:
  explicit OtherVcpu(Step step)
      : thread_([this, step] {
          while (!stop_.load(std::memory_order_relaxed)) {
            step();
            running_.store(true, std::memory_order_relaxed);
          }
        }) {
    while (!running_.load(std::memory_order_relaxed)) std::this_thread::yield();
  }
  ~OtherVcpu() {
    stop_.store(true, std::memory_order_relaxed);
    thread_.join();
  }

 private:
  std::atomic<bool> stop_{false};
  std::atomic<bool> running_{false};
  std::thread thread_;
};

void check_reads_whole_words(CopyFn copy_from) {
  static GuestWords guest;
  const OtherVcpu writer([] {
    for (const std::uint64_t value : {kOld, kNew}) {
      for (std::size_t i = 0; i < kWords; ++i) guest.store(i, value);
    }
  });
  std::array<std::byte, 4096 + 64> host{};
  std::size_t torn = 0;
  for (int round = 0; round < kRounds; ++round) {
    for (const std::size_t n : kLengths) {
      for (const std::size_t misalignment : {0u, 1u, 4u, 7u, 13u}) {
        const std::size_t from = static_cast<std::size_t>(round) % 8 * 8 % (4096 - n + 8);
        copy_from(host.data() + misalignment, guest.bytes() + from, n);
        for (std::size_t i = 0; i < n; i += 8) {
          std::uint64_t word = 0;
          std::memcpy(&word, host.data() + misalignment + i, sizeof word);
          if (!is_whole(word)) ++torn;
        }
      }
    }
  }
  EXPECT_EQ(torn, 0u);
}

void check_writes_whole_words(CopyFn copy_to) {
  static GuestWords guest;
  static std::atomic<std::size_t> torn;
  torn = 0;
  std::array<std::byte, 4096 + 64> old_bytes;
  std::array<std::byte, 4096 + 64> new_bytes;
  old_bytes.fill(std::byte{0});
  new_bytes.fill(std::byte{0xff});
  {
    const OtherVcpu reader([] {
      for (std::size_t i = 0; i < kWords; ++i) {
        if (!is_whole(guest.load(i))) torn.fetch_add(1, std::memory_order_relaxed);
      }
    });
    for (int round = 0; round < kRounds; ++round) {
      for (const std::size_t n : kLengths) {
        for (const std::size_t misalignment : {0u, 1u, 4u, 7u, 13u}) {
          const std::size_t to = static_cast<std::size_t>(round) % 8 * 8 % (4096 - n + 8);
          copy_to(guest.bytes() + to, new_bytes.data() + misalignment, n);
          copy_to(guest.bytes() + to, old_bytes.data() + misalignment, n);
        }
      }
    }
  }
  EXPECT_EQ(torn.load(), 0u);
}

class CopyKernelsRaceTest : public testing::TestWithParam<const CopyKernels*> {
 protected:
  void SetUp() override {
    if (!GetParam()->supported()) GTEST_SKIP() << "not on this CPU";
  }
};

TEST_P(CopyKernelsRaceTest, CopyReadsWholeWords) {
  check_reads_whole_words(GetParam()->copy_words);
}
TEST_P(CopyKernelsRaceTest, CopyWritesWholeWords) {
  check_writes_whole_words(GetParam()->copy_words);
}
TEST_P(CopyKernelsRaceTest, MoveReadsWholeWords) { check_reads_whole_words(GetParam()->move); }
TEST_P(CopyKernelsRaceTest, MoveWritesWholeWords) { check_writes_whole_words(GetParam()->move); }
TEST_P(CopyKernelsRaceTest, StreamWritesWholeWords) {
  check_writes_whole_words(GetParam()->stream);
}

INSTANTIATE_TEST_SUITE_P(PerIsa, CopyKernelsRaceTest,
                         testing::ValuesIn(built_copy_kernels().begin(),
                                           built_copy_kernels().end()),
                         [](const auto& row) { return std::string(row.param->isa); });

// Others may write the bytes beside those that are read, with ordinary stores: for a race
// detector to find.
TEST(GuestCopyRaceTest, ReadsDoNotRaceTheirNeighbours) {
  static GuestWords guest;
  const OtherVcpu neighbour([] {
    for (const std::size_t at : {0u, 3u, 100u, 4095u}) {
      guest.bytes()[at] = guest.bytes()[at] ^ std::byte{1};
    }
  });
  std::array<std::byte, 96> host{};
  for (int round = 0; round < kRounds; ++round) {
    for (std::size_t n = 1; n <= host.size(); ++n) {
      copy_from_guest(host.data(), guest.bytes() + 4, n);
      copy_from_guest(host.data(), guest.bytes() + 4095 - n, n);
      ASSERT_EQ(host[0], std::byte{0});
    }
  }
}

TEST(GuestCopyRaceTest, FromGuestReadsWholeWords) { check_reads_whole_words(copy_from_guest); }
// Of a range that begins and ends inside words, those that lie in it whole.
TEST(GuestCopyRaceTest, RaggedReadsShowWholeWords) {
  static GuestWords guest;
  const OtherVcpu writer([] {
    for (const std::uint64_t value : {kOld, kNew}) {
      for (std::size_t i = 0; i < 8; ++i) guest.store(i, value);
    }
  });
  std::array<std::byte, 64> host{};
  std::size_t torn = 0;
  for (int round = 0; round < 2 * kRounds; ++round) {
    for (std::size_t past = 0; past < 8; ++past) {
      for (std::size_t n = 9; n <= 40; ++n) {
        copy_from_guest(host.data(), guest.bytes() + past, n);
        for (std::size_t at = (8 - past) % 8; at + 8 <= n; at += 8) {
          std::uint64_t word = 0;
          std::memcpy(&word, host.data() + at, sizeof word);
          if (!is_whole(word)) ++torn;
        }
      }
    }
  }
  EXPECT_EQ(torn, 0u);
}
TEST(GuestCopyRaceTest, ToGuestWritesWholeWords) { check_writes_whole_words(copy_to_guest); }

TEST(GuestCopyRaceTest, WithinGuestReadsAndWritesWholeWords) {
  check_writes_whole_words(
      [](std::byte* dst, const std::byte* src, std::size_t n) { copy_within_guest(dst, src, n); });
}

TEST(GuestCopyRaceTest, FillWritesWholeWords) {
  check_writes_whole_words(
      [](std::byte* dst, const std::byte* src, std::size_t n) { fill_guest(dst, *src, n); });
}

// One access each, whatever the host's alignment: two threads exchange a value of
// each size through a guest word.
TEST(GuestCopyRaceTest, SmallAlignedCopiesAreOneAccess) {
  static GuestWords guest;
  for (const std::size_t bytes : {1u, 2u, 4u, 8u}) {
    const OtherVcpu writer([bytes] {
      const std::array<std::byte, 16> zeros{};
      std::array<std::byte, 16> ones;
      ones.fill(std::byte{0xff});
      copy_to_guest(guest.bytes() + bytes, ones.data() + 1, bytes);
      copy_to_guest(guest.bytes() + bytes, zeros.data() + 3, bytes);
    });
    std::size_t torn = 0;
    for (int i = 0; i < 200'000; ++i) {
      std::array<std::byte, 16> seen{};
      copy_from_guest(seen.data() + 5, guest.bytes() + bytes, bytes);
      for (std::size_t at = 1; at < bytes; ++at) torn += seen[5 + at] != seen[5];
    }
    EXPECT_EQ(torn, 0u) << bytes;
  }
}

}  // namespace
}  // namespace vm_mem::internal
