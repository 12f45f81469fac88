#include "vm_mem/internal/dirty_kernels.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <numeric>
#include <random>
#include <string>
#include <thread>
#include <vector>

namespace vm_mem::internal {
namespace {

constexpr std::size_t kWords = 3 * kWordGroup;
constexpr std::size_t kMarks = kWords * kMarksPerWord;
constexpr double kDensities[] = {0, 0.01, 0.2, 0.5, 0.9, 1};

using Bits = std::vector<bool>;
using Marks = std::vector<std::byte>;
using Words = std::vector<std::uint64_t>;

class Draw {
 public:
  Bits bits(double density, std::size_t count = kMarks) {
    std::bernoulli_distribution one(density);
    Bits bits(count);
    for (std::size_t i = 0; i < count; ++i) bits[i] = one(random_);
    return bits;
  }
  Marks marks(const Bits& bits) {
    Marks marks(bits.size() + kMarkPadding, std::byte{0xee});
    for (std::size_t i = 0; i < bits.size(); ++i) marks[i] = static_cast<std::byte>(bits[i]);
    return marks;
  }
  // With any other bits.
  Marks mixed_marks(const Bits& bits) {
    Marks mixed = marks(bits);
    for (std::size_t i = 0; i < bits.size(); ++i) {
      mixed[i] |= static_cast<std::byte>(random_() & ~std::uint64_t{kMarkDirty});
    }
    return mixed;
  }

 private:
  std::mt19937_64 random_{20};
};

Words words_of(const Bits& bits) {
  Words words(bits.size() / 64);
  for (std::size_t i = 0; i < bits.size(); ++i) {
    words[i / 64] |= std::uint64_t{bits[i]} << i % 64;
  }
  return words;
}

Bits bits_of(const Marks& marks) {
  Bits bits(marks.size() - kMarkPadding);
  for (std::size_t i = 0; i < bits.size(); ++i) bits[i] = marks[i] != std::byte{0};
  return bits;
}

bool padding_is_untouched(const Marks& marks) {
  return std::all_of(marks.end() - kMarkPadding, marks.end(),
                     [](std::byte byte) { return byte == std::byte{0xee}; });
}

std::uint64_t ones(const Bits& bits) {
  return static_cast<std::uint64_t>(std::count(bits.begin(), bits.end(), true));
}

std::vector<DirtyRun> runs_of(const Bits& bits) {
  std::vector<DirtyRun> runs;
  for (std::uint32_t i = 0; i < bits.size(); ++i) {
    if (!bits[i]) continue;
    if (i == 0 || !bits[i - 1]) runs.push_back({i, i});
    runs.back().end = i + 1;
  }
  return runs;
}

class DirtyKernelsTest : public testing::TestWithParam<const DirtyKernels*> {
 protected:
  void SetUp() override {
    if (!kernels().supported()) GTEST_SKIP() << kernels().isa << " is not on this CPU; 0 tests";
  }
  static const DirtyKernels& kernels() { return *GetParam(); }
  static std::vector<DirtyRun> runs(const Bits& bits) {
    const Words words = words_of(bits);
    std::vector<DirtyRun> out(most_runs(ones(bits), words.size()));
    out.resize(kernels().runs(words.data(), words.size(), out.data()));
    return out;
  }
  Draw draw_;
};

TEST_P(DirtyKernelsTest, SetMarksTheRangeAndNothingElse) {
  for (const std::size_t first : {0u, 1u, 7u, 63u, 64u, 100u}) {
    for (std::size_t count = 0; count <= 260; ++count) {
      Bits bits = draw_.bits(0.5);
      Marks marks = draw_.marks(bits);
      const Marks before = marks;
      kernels().set(marks.data() + first, count);
      std::fill_n(bits.begin() + static_cast<std::ptrdiff_t>(first), count, true);
      ASSERT_EQ(bits_of(marks), bits) << first << " " << count;
      for (std::size_t i = 0; i < marks.size(); ++i) {
        ASSERT_TRUE(before[i] == std::byte{0} || marks[i] == before[i]) << "stored to a mark";
      }
    }
  }
}

TEST_P(DirtyKernelsTest, ExpandSetsTheMarksOfTheBits) {
  for (const double marked : kDensities) {
    for (const double given : kDensities) {
      const Bits bits = draw_.bits(given);
      const Words words = words_of(bits);
      Bits wanted = draw_.bits(marked);
      Marks marks = draw_.marks(wanted);
      kernels().expand(marks.data(), words.data(), words.size());
      for (std::size_t i = 0; i < bits.size(); ++i) wanted[i] = wanted[i] || bits[i];
      ASSERT_EQ(bits_of(marks), wanted);
      ASSERT_TRUE(padding_is_untouched(marks));
    }
  }
}

TEST_P(DirtyKernelsTest, CollectMovesEveryMark) {
  for (const double density : kDensities) {
    const Bits bits = draw_.bits(density);
    Marks marks = draw_.marks(bits);
    Words words(kWords, 0x1234);
    ASSERT_EQ(kernels().count(marks.data(), kWords), ones(bits));
    ASSERT_EQ(kernels().collect(marks.data(), words.data(), kWords), ones(bits));
    ASSERT_EQ(words, words_of(bits));
    ASSERT_EQ(bits_of(marks), Bits(kMarks)) << density;
    ASSERT_TRUE(padding_is_untouched(marks));
  }
}

TEST_P(DirtyKernelsTest, CountLooksAtTheDirtyBitAlone) {
  for (const double density : kDensities) {
    const Bits bits = draw_.bits(density);
    const Marks marks = draw_.mixed_marks(bits);
    ASSERT_EQ(kernels().count(marks.data(), kWords), ones(bits));
    std::uint64_t first_eight = 0;
    std::memcpy(&first_eight, marks.data(), sizeof first_eight);
    ASSERT_EQ(dirty_of_eight(first_eight), words_of(bits)[0] & 0xff);
  }
}

TEST_P(DirtyKernelsTest, CollectMovesEachSingleMark) {
  for (std::size_t i = 0; i < kMarks; ++i) {
    Bits bits(kMarks);
    bits[i] = true;
    Marks marks = draw_.marks(bits);
    Words words(kWords);
    ASSERT_EQ(kernels().collect(marks.data(), words.data(), kWords), 1u);
    ASSERT_EQ(words, words_of(bits));
    ASSERT_EQ(bits_of(marks), Bits(kMarks));
  }
}

TEST_P(DirtyKernelsTest, RunsAreThoseOfTheBits) {
  for (const double density : kDensities) {
    for (int repeat = 0; repeat < 50; ++repeat) {
      const Bits bits = draw_.bits(density);
      ASSERT_EQ(runs(bits), runs_of(bits)) << density;
    }
  }
}

TEST_P(DirtyKernelsTest, RunsCrossWordsAndGroups) {
  for (std::size_t first = 0; first < kMarks; first += 31) {
    for (std::size_t end = first + 1; end <= kMarks; end += 29) {
      Bits bits(kMarks);
      std::fill(bits.begin() + static_cast<std::ptrdiff_t>(first),
                bits.begin() + static_cast<std::ptrdiff_t>(end), true);
      const std::vector<DirtyRun> wanted = {
          {static_cast<std::uint32_t>(first), static_cast<std::uint32_t>(end)}};
      ASSERT_EQ(runs(bits), wanted);
    }
  }
}

TEST_P(DirtyKernelsTest, EveryOtherPageIsARunOfItsOwn) {
  for (const std::size_t phase : {0u, 1u}) {
    Bits bits(kMarks);
    for (std::size_t i = phase; i < kMarks; i += 2) bits[i] = true;
    ASSERT_EQ(runs(bits), runs_of(bits));
  }
}

// A mark is set once, by a thread that looked at it before or not, while another
// collects: a loop that stores to bytes which it saw clear would wipe some out.
TEST_P(DirtyKernelsTest, MarksThatAreSetMeanwhileAreNotWipedOut) {
  constexpr int kRounds = 300;
  std::vector<std::uint32_t> order(kMarks);
  std::iota(order.begin(), order.end(), 0u);
  std::shuffle(order.begin(), order.end(), std::mt19937(1));
  for (int round = 0; round < kRounds; ++round) {
    Marks marks = draw_.marks(Bits(kMarks));
    std::atomic<bool> done{false};
    std::thread writer([&] {
      for (const std::uint32_t i : order) {
        std::atomic_ref(reinterpret_cast<std::uint8_t&>(marks[i])).store(1);
      }
      done.store(true);
    });
    std::uint64_t found = 0;
    for (bool last = false; !last;) {
      last = done.load();
      Words words(kWords);
      found += kernels().collect(marks.data(), words.data(), kWords);
    }
    writer.join();
    ASSERT_EQ(found, kMarks);
  }
}

INSTANTIATE_TEST_SUITE_P(PerIsa, DirtyKernelsTest,
                         testing::ValuesIn(built_dirty_kernels().begin(),
                                           built_dirty_kernels().end()),
                         [](const auto& row) { return std::string(row.param->isa); });

TEST(DirtyKernelListTest, EndsWithARowThatRunsEverywhere) {
  ASSERT_FALSE(built_dirty_kernels().empty());
  EXPECT_EQ(built_dirty_kernels().back(), &kScalarDirtyKernels);
  EXPECT_TRUE(kScalarDirtyKernels.supported());
}

TEST(DirtyKernelListTest, TheActiveRowIsSupported) {
  EXPECT_TRUE(active_dirty_kernels().supported());
}

}  // namespace
}  // namespace vm_mem::internal
