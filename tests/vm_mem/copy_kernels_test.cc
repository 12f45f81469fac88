#include "vm_mem/internal/copy_kernels.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "tests/support/bytes.h"
#include "tests/support/guarded_buffer.h"

namespace vm_mem::internal {
namespace {

using vm_test::all_are;
using vm_test::Edge;
using vm_test::GuardedBuffer;
using vm_test::number;

using CopyFn = void (*)(std::byte*, const std::byte*, std::size_t);

constexpr std::array kEdges = {Edge::kFront, Edge::kBack};
constexpr std::size_t kMaxVector = 64;
constexpr std::size_t kFourVectors = 4 * kMaxVector;
// Beyond the last size at which the widest row copies without its loop.
constexpr std::size_t kIntoLoop = 22 * kMaxVector;
constexpr std::byte kCanary{0xee};

bool same(std::span<const std::byte> a, std::span<const std::byte> b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size()) == 0);
}

int sign(int value) { return (value > 0) - (value < 0); }

// Runs once per row built into this binary: a kernel cannot ship untested.
class CopyKernelsTest : public testing::TestWithParam<const CopyKernels*> {
 protected:
  void SetUp() override {
    if (!row().supported()) GTEST_SKIP() << "not on this CPU";
  }
  static const CopyKernels& row() { return *GetParam(); }
};

// Small copies take one path where sizes repeat and another where they vary.
enum class Sizes { kRepeat, kVary };
constexpr std::uint32_t kVaryingSizes = 0x01020304;  // as if copies of these sizes came before

void check_guarded_edges(CopyFn copy, Sizes sizes) {
  const GuardedBuffer src(kIntoLoop);
  const GuardedBuffer dst(kIntoLoop);
  for (const Edge src_edge : kEdges) {
    for (const Edge dst_edge : kEdges) {
      for (std::size_t n = 0; n <= kIntoLoop; ++n) {
        const auto from = src.at(src_edge, n);
        const auto to = dst.at(dst_edge, n);
        number(from, n);
        std::fill(to.begin(), to.end(), kCanary);
        if (sizes == Sizes::kVary) latest_sizes = kVaryingSizes;
        copy(to.data(), from.data(), n);
        ASSERT_TRUE(same(to, from)) << "bytes " << n;
      }
    }
  }
}

// Every distance of dst from a cache line, and of src from dst's; canaries around.
void check_alignments(CopyFn copy, std::size_t n, Sizes sizes) {
  alignas(kMaxVector) std::array<std::byte, kIntoLoop + 2 * kMaxVector> src;
  alignas(kMaxVector) std::array<std::byte, kIntoLoop + 2 * kMaxVector> dst;
  number(src, n);
  for (std::size_t to = 0; to < kMaxVector; ++to) {
    for (const std::size_t skew : {0u, 1u, 4u, 8u, 15u, 31u, 32u, 63u}) {
      const std::size_t from = (to + skew) % kMaxVector;
      dst.fill(kCanary);
      if (sizes == Sizes::kVary) latest_sizes = kVaryingSizes;
      copy(dst.data() + to, src.data() + from, n);
      const auto bytes = std::span<const std::byte>(dst);
      ASSERT_TRUE(same(bytes.subspan(to, n), std::span(src).subspan(from, n)))
          << "bytes " << n << " dst " << to << " src " << from;
      ASSERT_TRUE(all_are(bytes.first(to), kCanary) && all_are(bytes.subspan(to + n), kCanary))
          << "bytes " << n << " dst " << to << " src " << from;
    }
  }
}

void check_copies(CopyFn copy) {
  for (const Sizes sizes : {Sizes::kRepeat, Sizes::kVary}) {
    check_guarded_edges(copy, sizes);
    for (std::size_t n = 0; n <= kFourVectors; ++n) check_alignments(copy, n, sizes);
    for (std::size_t n = kFourVectors; n <= kIntoLoop; n += 37) check_alignments(copy, n, sizes);
  }
}

TEST_P(CopyKernelsTest, CopiesEveryLengthAtEveryAlignment) { check_copies(row().copy); }
TEST_P(CopyKernelsTest, CopiesWordsOfEveryLengthAtEveryAlignment) {
  check_copies(row().copy_words);
}
TEST_P(CopyKernelsTest, MovesEveryLengthAtEveryAlignment) { check_copies(row().move); }
TEST_P(CopyKernelsTest, StreamsEveryLengthAtEveryAlignment) { check_copies(row().stream); }

TEST_P(CopyKernelsTest, StreamsGroupsOfPages) {
  constexpr std::size_t kBytes = 11 * 4096 + 77;
  const GuardedBuffer src(kBytes);
  const GuardedBuffer dst(kBytes);
  number(src.all(), 3);
  for (const std::size_t missing : {0u, 1u, 8u, 63u, 64u, 65u, 4095u, 4096u, 4097u, 30000u}) {
    const std::size_t n = kBytes - missing;
    for (const Edge edge : kEdges) {
      std::fill(dst.all().begin(), dst.all().end(), kCanary);
      row().stream(dst.at(edge, n).data(), src.at(Edge::kBack, n).data(), n);
      ASSERT_TRUE(same(dst.at(edge, n), src.at(Edge::kBack, n))) << n;
      const auto rest =
          edge == Edge::kFront ? dst.all().subspan(n) : dst.all().first(dst.all().size() - n);
      ASSERT_TRUE(all_are(rest, kCanary)) << n;
    }
  }
}

TEST_P(CopyKernelsTest, MovesOverEveryShortDistance) {
  std::array<std::byte, kIntoLoop + 2 * 160> original;
  number(original, 11);
  std::vector<std::size_t> lengths;
  for (std::size_t n = 0; n < kIntoLoop; n += n < 80 ? 1 : 1 + n / 9) lengths.push_back(n);
  for (const std::size_t n : lengths) {
    for (std::size_t distance = 0; distance < 160; ++distance) {
      for (const bool up : {false, true}) {
        const std::size_t from = up ? 0 : distance;
        const std::size_t to = up ? distance : 0;
        auto got = original;
        auto want = original;
        std::memmove(want.data() + to, want.data() + from, n);
        row().move(got.data() + to, got.data() + from, n);
        ASSERT_TRUE(same(got, want)) << "bytes " << n << " from " << from << " to " << to;
      }
    }
  }
}

TEST_P(CopyKernelsTest, MovesOverLongDistancesBothWays) {
  constexpr std::size_t kBytes = 40000;
  std::vector<std::byte> original(kBytes);
  number(original, 2);
  for (const std::size_t distance : {1u, 7u, 8u, 64u, 333u, 4096u, 19999u}) {
    for (const bool up : {false, true}) {
      auto got = original;
      auto want = original;
      const std::size_t n = kBytes - distance;
      std::memmove(want.data() + (up ? distance : 0), want.data() + (up ? 0 : distance), n);
      row().move(got.data() + (up ? distance : 0), got.data() + (up ? 0 : distance), n);
      ASSERT_TRUE(same(got, want)) << distance;
    }
  }
}

TEST_P(CopyKernelsTest, SetsEveryLengthAtEveryAlignment) {
  const GuardedBuffer guarded(kIntoLoop);
  alignas(kMaxVector) std::array<std::byte, kIntoLoop + 2 * kMaxVector> dst;
  for (std::size_t n = 0; n <= kIntoLoop; n += n < kFourVectors ? 1 : 29) {
    for (const Edge edge : kEdges) {
      const auto value = static_cast<std::byte>(n | 1);
      row().set(guarded.at(edge, n).data(), value, n);
      ASSERT_TRUE(all_are(guarded.at(edge, n), value)) << n;
    }
    for (std::size_t to = 0; to < kMaxVector; ++to) {
      dst.fill(kCanary);
      row().set(dst.data() + to, std::byte{0x5a}, n);
      const auto bytes = std::span<const std::byte>(dst);
      ASSERT_TRUE(all_are(bytes.subspan(to, n), std::byte{0x5a})) << n << " at " << to;
      ASSERT_TRUE(all_are(bytes.first(to), kCanary) && all_are(bytes.subspan(to + n), kCanary))
          << n << " at " << to;
    }
  }
}

TEST_P(CopyKernelsTest, ComparesEveryLengthWithoutLeavingTheBuffers) {
  const GuardedBuffer left(kIntoLoop);
  const GuardedBuffer right(kIntoLoop);
  for (const Edge left_edge : kEdges) {
    for (const Edge right_edge : kEdges) {
      for (std::size_t n = 0; n <= kIntoLoop; ++n) {
        const auto a = left.at(left_edge, n);
        const auto b = right.at(right_edge, n);
        number(a, 5);
        number(b, 5);
        ASSERT_EQ(row().compare(a.data(), b.data(), n), 0) << n;
      }
    }
  }
}

TEST_P(CopyKernelsTest, TellsEqualFromDifferentInEveryByte) {
  const GuardedBuffer left(kIntoLoop);
  const GuardedBuffer right(kIntoLoop);
  for (const Edge edge : kEdges) {
    for (std::size_t n = 0; n <= kIntoLoop; n += n < kFourVectors ? 1 : 61) {
      const auto a = left.at(edge, n);
      const auto b = right.at(edge, n);
      number(a, 5);
      number(b, 5);
      ASSERT_TRUE(row().equal(a.data(), b.data(), n)) << n;
      for (std::byte& byte : b) {
        byte ^= std::byte{0x40};
        ASSERT_FALSE(row().equal(a.data(), b.data(), n)) << n << " at " << &byte - b.data();
        byte ^= std::byte{0x40};
      }
    }
  }
}

// Every place of the first difference; a second one behind it points the other way.
TEST_P(CopyKernelsTest, OrdersByTheFirstDifference) {
  for (std::size_t n = 1; n <= kIntoLoop; n += n < kFourVectors ? 1 : 83) {
    std::vector<std::byte> a(n + 3);
    number(a, 9);
    std::vector<std::byte> b = a;
    for (std::size_t at = 0; at < n; ++at) {
      b[at] ^= std::byte{0x80};
      if (at + 1 < n) b[n - 1] = ~a[n - 1];
      const int want = sign(std::memcmp(a.data(), b.data(), n));
      ASSERT_EQ(row().compare(a.data(), b.data(), n), want) << n << " at " << at;
      ASSERT_EQ(row().compare(b.data(), a.data(), n), -want) << n << " at " << at;
      b[at] = a[at];
      b[n - 1] = a[n - 1];
    }
  }
}

TEST_P(CopyKernelsTest, FindsTheOnlyByteThatIsNotZero) {
  const GuardedBuffer guarded(kIntoLoop);
  std::fill(guarded.all().begin(), guarded.all().end(), std::byte{0});
  for (const Edge edge : kEdges) {
    for (std::size_t n = 0; n <= kIntoLoop; n += n < kFourVectors ? 1 : 61) {
      const auto bytes = guarded.at(edge, n);
      ASSERT_TRUE(row().is_zero(bytes.data(), n)) << n;
      for (std::byte& byte : bytes) {
        byte = std::byte{0x10};
        ASSERT_FALSE(row().is_zero(bytes.data(), n)) << n << " at " << &byte - bytes.data();
        byte = std::byte{0};
      }
    }
  }
}

TEST_P(CopyKernelsTest, IgnoresBytesBesideTheRangeWhenScanningForZero) {
  std::array<std::byte, kFourVectors + 2> bytes{};
  for (std::size_t n = 0; n <= kFourVectors; ++n) {
    bytes[0] = bytes[n + 1] = std::byte{1};
    ASSERT_TRUE(row().is_zero(bytes.data() + 1, n)) << n;
    bytes[n + 1] = std::byte{0};
  }
}

TEST_P(CopyKernelsTest, TenThousandRandomCopiesMatchLibc) {
  const std::uint64_t seed = std::random_device{}();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937_64 random(seed);
  constexpr std::size_t kMaxBytes = 10'000;
  std::vector<std::byte> src(kMaxBytes + 64);
  std::vector<std::byte> got(kMaxBytes + 64);
  std::vector<std::byte> want(kMaxBytes + 64);
  number(src, static_cast<std::size_t>(seed));
  for (int i = 0; i < 10'000; ++i) {
    const std::size_t n = random() % (kMaxBytes + 1);
    const std::size_t from = random() % 64;
    const std::size_t to = random() % 64;
    const CopyFn copy =
        std::array<CopyFn, 4>{row().copy, row().copy_words, row().move, row().stream}[random() % 4];
    copy(got.data() + to, src.data() + from, n);
    std::memcpy(want.data() + to, src.data() + from, n);
    ASSERT_TRUE(same(got, want)) << "case " << i << " bytes " << n << " " << from << "->" << to;
  }
}

TEST_P(CopyKernelsTest, IsNamedAndWide) {
  EXPECT_FALSE(row().isa.empty());
  EXPECT_GE(row().vector_width, 8u);
  EXPECT_LE(row().vector_width, kMaxVector);
}

INSTANTIATE_TEST_SUITE_P(PerIsa, CopyKernelsTest,
                         testing::ValuesIn(built_copy_kernels().begin(),
                                           built_copy_kernels().end()),
                         [](const auto& row) { return std::string(row.param->isa); });

TEST(CopyKernelListTest, EndsWithARowThatRunsEverywhere) {
  ASSERT_FALSE(built_copy_kernels().empty());
  EXPECT_EQ(built_copy_kernels().back(), &kScalarKernels);
  EXPECT_TRUE(built_copy_kernels().back()->supported());
}

// Where two lanes are as wide, the first of the list is the better row.
TEST(CopyKernelListTest, GoesFromWideToNarrowWithoutRepeatingAName) {
  std::set<std::string_view> names;
  std::size_t before = kMaxVector;
  for (const CopyKernels* row : built_copy_kernels()) {
    EXPECT_LE(row->vector_width, before) << row->isa;
    EXPECT_TRUE(names.insert(row->isa).second) << row->isa;
    before = row->vector_width;
  }
}

}  // namespace
}  // namespace vm_mem::internal
