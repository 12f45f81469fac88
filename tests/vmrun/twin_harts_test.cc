#include "tests/vmrun/twin_harts.h"

#include <gtest/gtest.h>

#include <random>

namespace vmrun {
namespace {

TEST(TwinHartsTest, RandomBytesRunTheSame) {
  constexpr unsigned kPrograms = 100;
  constexpr std::size_t kBytes = 1200;
  std::uint64_t translated = 0, invalidated = 0, links = 0, iterations = 0, bulk = 0, hot = 0;
  for (unsigned seed = 1; seed <= kPrograms && !HasFailure(); ++seed) {
    std::mt19937_64 random(seed);
    std::vector<std::uint8_t> input(kBytes);
    for (std::uint8_t& byte : input) byte = static_cast<std::uint8_t>(random());
    TwinHarts twins(input);
    EXPECT_EQ(twins.run(), "") << "seed " << seed;
    translated += twins.statistics().translated;
    invalidated += twins.statistics().invalidated;
    links += twins.statistics().links;
    iterations += twins.loops().iterations;
    bulk += twins.bulk_bytes();
    hot += twins.has_fastmem() ? twins.statistics().hot : 0;
  }
  EXPECT_GT(translated, 20 * kPrograms);
  EXPECT_GT(invalidated, kPrograms / 10);
  EXPECT_GT(links, kPrograms);
  EXPECT_GT(iterations, 10 * kPrograms);
  EXPECT_GT(bulk, 10 * kPrograms);
  EXPECT_GT(hot, 0u);
}

}  // namespace
}  // namespace vmrun
