// Objects built with different compiler flags, in one program. CMake links this
// file twice, with the objects in both orders.

#include "vm_mem/inline_copy.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <vector>

#include "tests/vm_mem/inline_copy_part.h"
#include "vm_mem/simd_memcpy.h"

namespace vm_test {
namespace {

void check_copies(const InlineCopyPart& part) {
  std::array<std::byte, 5000> src;
  for (std::size_t i = 0; i < src.size(); ++i) src[i] = static_cast<std::byte>(i % 247 + 1);
  for (std::size_t n = 0; n < 4900; n += n < 300 ? 1 : 89) {
    std::array<std::byte, 5000> dst{};
    const auto to = std::span(dst).subspan(1, n);
    part.adaptive(to, std::span(src).first(n));
    ASSERT_TRUE(std::equal(to.begin(), to.end(), src.begin())) << n;
    std::fill(to.begin(), to.end(), std::byte{0});
    part.copy_in_line(to.data(), src.data(), n);
    ASSERT_TRUE(std::equal(to.begin(), to.end(), src.begin())) << n;
    ASSERT_TRUE(dst[0] == std::byte{0} && dst[n + 1] == std::byte{0}) << n;
  }
}

TEST(InlineCopyTest, EveryPartKeepsItsOwnCode) {
  EXPECT_NE(baseline_part().copy_in_line, avx2_part().copy_in_line);
  EXPECT_NE(baseline_part().copy_in_line, avx512_part().copy_in_line);
  EXPECT_NE(avx2_part().copy_in_line, avx512_part().copy_in_line);
  EXPECT_NE(baseline_part().adaptive, avx2_part().adaptive);
  EXPECT_NE(baseline_part().adaptive, avx512_part().adaptive);
  EXPECT_NE(avx2_part().adaptive, avx512_part().adaptive);
}

// A claim about compilers, which warn of copies that cannot be.
TEST(InlineCopyTest, BuffersOfKnownSizeBesideUnknownOnesCompileWithoutAWarning) {
  std::array<std::byte, 16> known;
  const volatile std::size_t size = known.size();
  std::vector<std::byte> unknown(size);
  known.fill(std::byte{7});
  vm_mem::memcpy_adaptive(unknown, known);
  EXPECT_TRUE(std::ranges::equal(unknown, known));
  known.fill(std::byte{8});
  vm_mem::memcpy_adaptive_with_threshold(unknown, known, 128);
  EXPECT_TRUE(std::ranges::equal(unknown, known));
  known.fill(std::byte{9});
  vm_mem::memcpy_adaptive(known, unknown);
  EXPECT_TRUE(std::ranges::equal(unknown, known));
}

TEST(InlineCopyTest, BaselinePartCopies) { check_copies(baseline_part()); }

TEST(InlineCopyTest, Avx2PartCopies) {
  if (!vm_mem::has_avx2()) GTEST_SKIP() << "not on this CPU";
  check_copies(avx2_part());
}

TEST(InlineCopyTest, Avx512PartCopies) {
  if (!vm_mem::has_avx512()) GTEST_SKIP() << "not on this CPU";
  check_copies(avx512_part());
}

}  // namespace
}  // namespace vm_test
