#include "bench/harness/copy_plans.h"

#include <gtest/gtest.h>

#include <set>

namespace vm_bench {
namespace {

TEST(CopyPlansTest, UniformSizesTakeEveryValueAndNoOther) {
  Random random(1);
  std::set<std::size_t> seen;
  const SizeSource sizes = uniform_sizes(3, 7);
  for (int i = 0; i < 1000; ++i) seen.insert(sizes(random));
  EXPECT_EQ(seen, (std::set<std::size_t>{3, 4, 5, 6, 7}));
}

TEST(CopyPlansTest, DrawnSizesKeepTheirShares) {
  Random random(1);
  const SizeShare shares[] = {{8, 0.75}, {64, 0.25}, {512, 0}};
  const SizeSource sizes = drawn_sizes(shares);
  int eights = 0;
  for (int i = 0; i < 10'000; ++i) {
    const std::size_t n = sizes(random);
    ASSERT_TRUE(n == 8 || n == 64) << n;
    eights += n == 8 ? 1 : 0;
  }
  EXPECT_NEAR(eights, 7500, 300);
}

TEST(CopyPlansTest, TheSeedDecidesEveryCopy) {
  const auto draw = [](std::uint64_t seed) {
    std::vector<std::uint32_t> all;
    for (const CopyAt& at : random_copies(uniform_sizes(1, 256), 100, 4096, seed)) {
      all.insert(all.end(), {at.dst, at.src, at.bytes});
    }
    return all;
  };
  EXPECT_EQ(draw(1), draw(1));
  EXPECT_NE(draw(1), draw(2));
}

TEST(CopyPlansTest, ChunksAreDisjointAndShuffledOnBothSides) {
  const std::vector<CopyAt> chunks = shuffled_chunks(512, 1 << 20, 1);
  std::set<std::uint32_t> destinations;
  std::set<std::uint32_t> sources;
  bool differ = false;
  for (const CopyAt& at : chunks) {
    EXPECT_EQ(at.bytes, 512U);
    EXPECT_LE(at.dst + at.bytes, 1U << 20);
    EXPECT_EQ(at.dst % 576, 0U);
    destinations.insert(at.dst);
    sources.insert(at.src);
    differ = differ || at.dst != at.src;
  }
  EXPECT_EQ(destinations.size(), chunks.size());
  EXPECT_EQ(destinations, sources);
  EXPECT_TRUE(differ);
}

}  // namespace
}  // namespace vm_bench
