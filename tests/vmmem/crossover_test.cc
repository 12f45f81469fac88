#include "tools/vmmem/crossover.h"

#include <gtest/gtest.h>

#include "vm_mem/copy_policy.h"

namespace vmmem {
namespace {

using vm_mem::kNever;
using Points = std::vector<SizePoint>;

const Points kWinsFrom4K = {{1024, 0.5}, {2048, 0.8}, {4096, 1.2}, {8192, 1.5}};

TEST(CrossoverTest, FindsWhereThePathBeyondBeginsToWin) {
  const Crossover found = find_crossover(kWinsFrom4K, Side::kFrom, kNever, kNever);
  EXPECT_EQ(found.measured, 4096u);
  EXPECT_EQ(found.chosen, 4096u);
  EXPECT_EQ(found.sizes, 2u);
  EXPECT_NEAR(found.gain, 1.3416, 0.001);  // the geometric mean of 1.2 and 1.5
}

TEST(CrossoverTest, FindsNeverWhereItNeverWins) {
  const Crossover found = find_crossover({{1024, 0.5}, {2048, 0.9}}, Side::kFrom, 1024, kNever);
  EXPECT_EQ(found.chosen, kNever);
  EXPECT_EQ(found.sizes, 2u);
}

TEST(CrossoverTest, OneDisturbedSizeDoesNotMoveIt) {
  const Points points = {{1024, 0.5}, {2048, 1.3}, {4096, 0.98}, {8192, 1.5}};
  EXPECT_EQ(find_crossover(points, Side::kFrom, kNever, kNever).chosen, 2048u);
}

TEST(CrossoverTest, KeepsADefaultThatTakesTheSameSizes) {
  const Crossover found = find_crossover(kWinsFrom4K, Side::kFrom, 3000, kNever);
  EXPECT_EQ(found.measured, 3000u);
  EXPECT_EQ(found.chosen, 3000u);
  EXPECT_EQ(found.sizes, 0u);
}

TEST(CrossoverTest, KeepsTheDefaultWhereTheGainIsNoise) {
  const Points points = {{1024, 0.5}, {2048, 1.029}, {4096, 1.2}};
  const Crossover found = find_crossover(points, Side::kFrom, 4096, kNever);
  EXPECT_EQ(found.measured, 2048u);
  EXPECT_EQ(found.chosen, 4096u);
  EXPECT_NEAR(found.gain, 1.029, 0.0001);
}

TEST(CrossoverTest, AnUpperEndIsTheLastSizeThatWins) {
  const Points points = {{16, 2}, {32, 1.5}, {64, 1.1}, {128, 0.7}};
  EXPECT_EQ(find_crossover(points, Side::kUpTo, 16, 128).chosen, 64u);
}

TEST(CrossoverTest, AnUpperEndMayBeNoneOrBelowAll) {
  EXPECT_EQ(find_crossover({{16, 2}, {32, 1.5}}, Side::kUpTo, 16, kNever).chosen, kNever);
  EXPECT_EQ(find_crossover({{16, 0.5}, {32, 0.5}}, Side::kUpTo, 32, kNever).chosen, 8u);
}

}  // namespace
}  // namespace vmmem
