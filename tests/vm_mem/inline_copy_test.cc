// Objects built with different compiler flags, in one program. CMake links this
// file twice, with the objects in both orders.

#include "vm_mem/inline_copy.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <vector>

#include "tests/support/guarded_buffer.h"
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

// Each size often enough that it counts as one that repeats.
void check_page_edges(const InlineCopyPart& part) {
  constexpr std::size_t kMaxBytes = 600;
  constexpr std::byte kCanary{0xee};
  const GuardedBuffer source(kMaxBytes);
  const GuardedBuffer target(kMaxBytes);
  for (std::size_t i = 0; i < source.all().size(); ++i) source.all()[i] = std::byte(i % 247 + 1);
  for (std::size_t n = 0; n <= kMaxBytes; ++n) {
    for (int round = 0; round < 12; ++round) {
      const auto from = source.at(round % 2 == 0 ? Edge::kFront : Edge::kBack, n);
      const auto to = target.at(round % 4 < 2 ? Edge::kFront : Edge::kBack, n);
      std::ranges::fill(target.all(), kCanary);
      part.copy_in_line(to.data(), from.data(), n);
      ASSERT_TRUE(std::ranges::equal(to, from)) << n << " in round " << round;
      const auto touched = std::ranges::count_if(target.all(), [](auto b) { return b != kCanary; });
      ASSERT_LE(static_cast<std::size_t>(touched), n) << n << " in round " << round;
    }
  }
}

void check_packets(const InlineCopyPart& part) {
  std::vector<std::byte> payload(64, std::byte{5});
  for (std::size_t n = 0; n <= payload.size(); ++n) {
    Packet packet;
    part.fill_packet(packet, std::span(payload).first(n));
    EXPECT_EQ(packet.bytes, n);
    EXPECT_EQ(std::ranges::count(packet.payload, std::byte{5}), static_cast<std::ptrdiff_t>(n));
  }
}

void check_part(const InlineCopyPart& part) {
  check_copies(part);
  check_page_edges(part);
  check_packets(part);
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

TEST(InlineCopyTest, BaselinePartCopies) { check_part(baseline_part()); }

TEST(InlineCopyTest, Avx2PartCopies) {
  if (!vm_mem::has_avx2()) GTEST_SKIP() << "not on this CPU";
  check_part(avx2_part());
}

TEST(InlineCopyTest, Avx512PartCopies) {
  if (!vm_mem::has_avx512()) GTEST_SKIP() << "not on this CPU";
  check_part(avx512_part());
}

}  // namespace
}  // namespace vm_test
