#include "bench/harness/copy_check.h"

#include <gtest/gtest.h>

#include <cstring>

namespace vm_bench {
namespace {

void right(std::byte* dst, const std::byte* src, std::size_t n) { std::memcpy(dst, src, n); }
void one_short(std::byte* dst, const std::byte* src, std::size_t n) {
  std::memcpy(dst, src, n - 1);
}
void one_past(std::byte* dst, const std::byte* src, std::size_t n) { std::memcpy(dst, src, n + 1); }
void one_before(std::byte* dst, const std::byte* src, std::size_t n) {
  dst[-1] = std::byte{0};
  std::memcpy(dst, src, n);
}

TEST(CopyCheckTest, AcceptsACopy) {
  for (const std::uint32_t n : {0U, 1U, 64U, 4096U, 100'000U}) {
    EXPECT_TRUE(copies_exactly(right, {.dst = 4095, .src = 17, .bytes = n})) << n;
  }
}

TEST(CopyCheckTest, SeesAByteThatIsMissing) {
  EXPECT_FALSE(copies_exactly(one_short, {.bytes = 64}));
}

TEST(CopyCheckTest, SeesAByteBesideTheDestination) {
  EXPECT_FALSE(copies_exactly(one_past, {.bytes = 64}));
  EXPECT_FALSE(copies_exactly(one_before, {.bytes = 64}));
}

}  // namespace
}  // namespace vm_bench
