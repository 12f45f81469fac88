#include "vm_mem/simd_memcpy.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <random>
#include <vector>

#include "tests/support/guarded_buffer.h"
#include "vm_mem/internal/copy_path.h"

namespace vm_mem {
namespace {

using Bytes = std::vector<std::byte>;
using CopyFn = void (*)(std::byte*, const std::byte*, std::size_t);

constexpr std::size_t k64MiB = std::size_t{64} << 20;

void raw(std::byte* dst, const std::byte* src, std::size_t n) { memcpy_raw(dst, src, n); }
void move(std::byte* dst, const std::byte* src, std::size_t n) { memmove_raw(dst, src, n); }
void stream(std::byte* dst, const std::byte* src, std::size_t n) { memcpy_stream(dst, src, n); }
void fast(std::byte* dst, const std::byte* src, std::size_t n) { memcpy_fast({dst, n}, {src, n}); }
void adaptive(std::byte* dst, const std::byte* src, std::size_t n) {
  memcpy_adaptive({dst, n}, {src, n});
}
void threshold(std::byte* dst, const std::byte* src, std::size_t n) {
  memcpy_adaptive_with_threshold({dst, n}, {src, n}, 1000);
}

struct Entry {
  const char* name;
  CopyFn copy;
};
constexpr std::array kEntries = {Entry{"memcpy_raw", raw},           Entry{"memmove_raw", move},
                                 Entry{"memcpy_stream", stream},     Entry{"memcpy_fast", fast},
                                 Entry{"memcpy_adaptive", adaptive}, Entry{"threshold", threshold}};

Bytes numbered(std::size_t n, unsigned first) {
  Bytes bytes(n);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(first++ % 253);
  return bytes;
}

class CopyApiTest : public testing::TestWithParam<Entry> {};

TEST_P(CopyApiTest, CopiesNothingFromAnywhere) { GetParam().copy(nullptr, nullptr, 0); }

TEST_P(CopyApiTest, CopiesOddLengthsBetweenUnreadablePages) {
  constexpr std::size_t kMaxBytes = 1500;
  const vm_test::GuardedBuffer src(kMaxBytes);
  const vm_test::GuardedBuffer dst(kMaxBytes);
  for (const vm_test::Edge edge : {vm_test::Edge::kFront, vm_test::Edge::kBack}) {
    for (std::size_t n = 0; n < kMaxBytes; ++n) {
      const auto from = src.at(edge, n);
      const auto to = dst.at(edge, n);
      for (std::size_t i = 0; i < n; ++i) from[i] = static_cast<std::byte>(i + n);
      std::fill(to.begin(), to.end(), std::byte{0});
      GetParam().copy(to.data(), from.data(), n);
      ASSERT_TRUE(std::equal(to.begin(), to.end(), from.begin())) << n;
    }
  }
}

TEST_P(CopyApiTest, Copies64MiBUnaligned) {
  const Bytes src = numbered(k64MiB + 3, 1);
  Bytes dst(k64MiB + 7);
  GetParam().copy(dst.data() + 5, src.data() + 3, k64MiB);
  EXPECT_TRUE(std::equal(src.begin() + 3, src.end(), dst.begin() + 5));
  EXPECT_EQ(dst[4], std::byte{0});
  EXPECT_EQ(dst[k64MiB + 5], std::byte{0});
}

TEST_P(CopyApiTest, TenThousandRandomCopiesMatchLibc) {
  const std::uint64_t seed = std::random_device{}();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937_64 random(seed);
  constexpr std::size_t kMaxBytes = 10'000;
  const Bytes src = numbered(kMaxBytes + 64, static_cast<unsigned>(seed));
  Bytes got(kMaxBytes + 64);
  Bytes want(kMaxBytes + 64);
  for (int i = 0; i < 10'000; ++i) {
    const std::size_t n = random() % (kMaxBytes + 1);
    const std::size_t from = random() % 64;
    const std::size_t to = random() % 64;
    GetParam().copy(got.data() + to, src.data() + from, n);
    std::memcpy(want.data() + to, src.data() + from, n);
    ASSERT_EQ(got, want) << "case " << i << " bytes " << n << " " << from << "->" << to;
  }
}

INSTANTIATE_TEST_SUITE_P(PerFunction, CopyApiTest, testing::ValuesIn(kEntries),
                         [](const auto& entry) { return std::string(entry.param.name); });

TEST(SimdMemcpyTest, ReturnsTheDestination) {
  std::array<std::byte, 8> dst{};
  const std::array<std::byte, 8> src{};
  EXPECT_EQ(memcpy_raw(dst.data(), src.data(), 8), dst.data());
  EXPECT_EQ(memmove_raw(dst.data(), src.data(), 8), dst.data());
  EXPECT_EQ(memcpy_stream(dst.data(), src.data(), 8), dst.data());
  EXPECT_EQ(memset_raw(dst.data(), 1, 8), dst.data());
}

TEST(SimdMemcpyTest, SetUsesTheLowByteOfTheValue) {
  Bytes dst(1000);
  memset_raw(dst.data(), 0x1a5, dst.size());
  EXPECT_EQ(dst, Bytes(1000, std::byte{0xa5}));
}

TEST(SimdMemcpyTest, CompareHasTheSignOfLibc) {
  const Bytes low = {std::byte{1}, std::byte{0x7f}};
  const Bytes high = {std::byte{1}, std::byte{0x80}};
  EXPECT_LT(memcmp_raw(low.data(), high.data(), 2), 0);
  EXPECT_GT(memcmp_raw(high.data(), low.data(), 2), 0);
  EXPECT_EQ(memcmp_raw(low.data(), high.data(), 1), 0);
  EXPECT_EQ(memcmp_raw(nullptr, nullptr, 0), 0);
}

TEST(SimdMemcpyTest, NoBytesAreZero) {
  EXPECT_TRUE(is_zero({}));
  Bytes bytes(5000);
  EXPECT_TRUE(is_zero(bytes));
  bytes.back() = std::byte{1};
  EXPECT_FALSE(is_zero(bytes));
}

TEST(SimdMemcpyTest, FastAcceptsNeighbours) {
  Bytes bytes = numbered(200, 1);
  memcpy_fast(std::span(bytes).first(100), std::span(bytes).last(100));
  EXPECT_TRUE(std::equal(bytes.begin(), bytes.begin() + 100, bytes.begin() + 100));
}

TEST(SimdMemcpyDeathTest, FastTerminatesOnUnequalSizesAndPrintsBoth) {
  Bytes dst(17);
  const Bytes src(4099);
  EXPECT_DEATH(memcpy_fast(dst, src), "dst 17 bytes, src 4099 bytes: the sizes differ");
}

TEST(SimdMemcpyDeathTest, FastTerminatesOnOverlap) {
  Bytes bytes(100);
  const auto whole = std::span(bytes);
  EXPECT_DEATH(memcpy_fast(whole.first(51), whole.last(51)),
               "dst 51 bytes, src 51 bytes: the ranges overlap");
  EXPECT_DEATH(memcpy_fast(whole.last(60), whole.first(60)), "the ranges overlap");
}

TEST(SimdMemcpyTest, FeatureIsOneThatIsPresent) {
  switch (simd_feature()) {
    case SimdFeature::kAvx512: EXPECT_TRUE(has_avx512() && has_avx2() && has_sse2()); break;
    case SimdFeature::kAvx2: EXPECT_TRUE(has_avx2() && has_sse2() && !has_avx512()); break;
    case SimdFeature::kSse2: EXPECT_TRUE(has_sse2() && !has_avx2()); break;
    case SimdFeature::kSve: EXPECT_TRUE(has_sve() && has_neon()); break;
    case SimdFeature::kNeon: EXPECT_TRUE(has_neon() && !has_sve() && !has_sse2()); break;
    case SimdFeature::kNone: EXPECT_FALSE(has_sse2() || has_neon()); break;
  }
  EXPECT_NE(simd_feature_name(), "unknown");
}

TEST(CopyPathTest, FollowsThePolicy) {
  using internal::copy_path;
  const CopyPolicy& policy = copy_policy();
  if (inline_limits[0] != 0) {
    EXPECT_EQ(copy_path(1), CopyPath::kInline);
    EXPECT_EQ(copy_path(policy.inline_max), CopyPath::kInline);
  }
  EXPECT_EQ(copy_path(policy.inline_max + 1), CopyPath::kVector);
  EXPECT_EQ(copy_path(policy.stream_min - 1), CopyPath::kVector);
  EXPECT_EQ(copy_path(policy.stream_min), CopyPath::kStream);
}

}  // namespace
}  // namespace vm_mem
