// Every row on the paths of long copies and fills, which policies with low limits send
// short ones down: between unreadable pages, at every distance from a cache line.

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "tests/support/bytes.h"
#include "tests/support/guarded_buffer.h"
#include "vm_mem/copy_policy.h"
#include "vm_mem/internal/copy_kernels.h"

namespace vm_mem::internal {
namespace {

using vm_test::Edge;
using vm_test::GuardedBuffer;

constexpr std::size_t kLine = 64;
constexpr std::array kEdges = {Edge::kFront, Edge::kBack};
constexpr std::byte kCanary{0xee};

struct Path {
  std::string name;
  std::size_t align_loads_max = 0;
  std::size_t prefetch_min = kNever;
  std::size_t stream_min = kNever;
  std::size_t stream_pages = 1;
  std::size_t rep_movsb_min = kNever;
};

class LongCopyTest : public testing::TestWithParam<std::tuple<const CopyKernels*, Path>> {
 protected:
  void SetUp() override {
    if (!row().supported()) GTEST_SKIP() << "not on this CPU";
    const Path& path = std::get<1>(GetParam());
    CopyPolicy policy = found_;
    policy.align_loads_max = path.align_loads_max;
    policy.stream_pages = path.stream_pages;
    policy.prefetch_min = path.prefetch_min;
    policy.stream_min = policy.stream_hint_min = path.stream_min;
    policy.rep_movsb_min = policy.rep_movsb_hot_min = path.rep_movsb_min;
    policy.rep_movsb_max = kNever;
    if (!set_copy_policy(policy).ok()) GTEST_SKIP() << "this CPU has no fast rep movsb";
  }
  void TearDown() override { EXPECT_TRUE(set_copy_policy(found_).ok()); }

  const CopyKernels& row() const { return *std::get<0>(GetParam()); }

  // `run` gets n bytes of the destination and of a numbered source, and has to make the
  // first what `wanted` makes of n bytes, given the same source.
  template <typename Run, typename Wanted>
  static void check(std::size_t n, std::size_t to, std::size_t from, Run run, Wanted wanted) {
    static const GuardedBuffer src(kMaxBytes + kLine);
    static const GuardedBuffer dst(kMaxBytes + kLine);
    std::vector<std::byte> want(dst.all().size());
    vm_test::number(src.all(), 0);
    for (const Edge edge : kEdges) {
      // The distance is from the edge, which is at a line: so is one end of the range.
      const bool front = edge == Edge::kFront;
      const std::size_t at = front ? to : dst.all().size() - to - n;
      const std::size_t source_at = front ? from : src.all().size() - from - n;
      std::ranges::fill(dst.all(), kCanary);
      run(dst.all().data() + at, src.all().data() + source_at);
      std::ranges::fill(want, kCanary);
      wanted(want.data() + at, src.all().data() + source_at);
      ASSERT_EQ(std::memcmp(dst.all().data(), want.data(), want.size()), 0)
          << n << " bytes, " << to << " from the edge, the source " << from;
    }
  }

  static std::byte numbered(std::size_t i) { return static_cast<std::byte>(1 + i % 251); }

  static constexpr std::size_t kMaxBytes = 9000;

 private:
  const CopyPolicy found_ = copy_policy();
};

TEST_P(LongCopyTest, CopiesAtEveryDistanceFromALine) {
  for (const std::size_t n : {257u, 1000u, 4096u, 4167u, 8999u}) {
    const auto wanted = [&](std::byte* to, const std::byte* from) { std::memcpy(to, from, n); };
    for (std::size_t to = 0; to < kLine; to += 3) {
      for (const std::size_t from : {0u, 8u, 37u}) {
        const auto copy = [&](std::byte* dst, const std::byte* src) { row().copy(dst, src, n); };
        check(n, to, from, copy, wanted);
        const auto words = [&](std::byte* dst, const std::byte* src) {
          row().copy_words(dst, src, n);
        };
        check(n, to, from, words, wanted);
      }
    }
  }
}

TEST_P(LongCopyTest, SetsAtEveryDistanceFromALine) {
  for (const std::size_t n : {257u, 1000u, 4096u, 4160u, 4167u, 4200u, 8999u}) {
    const auto wanted = [&](std::byte* to, const std::byte*) { std::memset(to, 7, n); };
    for (std::size_t to = 0; to < kLine; ++to) {
      const auto set = [&](std::byte* dst, const std::byte*) { row().set(dst, std::byte{7}, n); };
      check(n, to, 0, set, wanted);
    }
  }
}

TEST_P(LongCopyTest, FillsAndCopiesMegabytes) {
  for (const std::size_t n : {(1u << 20) + 8, (1u << 20) + 4096 * 9 + 5}) {
    std::vector<std::byte> src(n);
    for (std::size_t i = 0; i < n; ++i) src[i] = numbered(i * i);
    for (const std::size_t to : {0u, 8u, 61u}) {
      std::vector<std::byte> dst(n + 2 * kLine, kCanary);
      const auto target = std::span(dst).subspan(to, n);
      row().copy(target.data(), src.data(), n);
      ASSERT_EQ(std::memcmp(target.data(), src.data(), n), 0) << n << " at " << to;
      row().set(target.data(), std::byte{9}, n);
      ASSERT_TRUE(vm_test::all_are(target, std::byte{9})) << n << " at " << to;
      ASSERT_TRUE(vm_test::all_are(std::span(dst).first(to), kCanary)) << n << " at " << to;
      ASSERT_TRUE(vm_test::all_are(std::span(dst).subspan(to + n), kCanary)) << n << " at " << to;
    }
  }
}

const std::vector<Path> kPaths = {
    {.name = "stores_aligned"},
    {.name = "loads_aligned", .align_loads_max = kNever},
    {.name = "prefetch", .prefetch_min = 256},
    {.name = "stream_lines", .stream_min = 4096},
    {.name = "stream_pages", .stream_min = 4096, .stream_pages = 8},
    {.name = "string", .rep_movsb_min = 64},
};

INSTANTIATE_TEST_SUITE_P(PerIsa, LongCopyTest,
                         testing::Combine(testing::ValuesIn(built_copy_kernels().begin(),
                                                            built_copy_kernels().end()),
                                          testing::ValuesIn(kPaths)),
                         [](const auto& test) {
                           return std::get<1>(test.param).name + "_" +
                                  std::string(std::get<0>(test.param)->isa);
                         });

}  // namespace
}  // namespace vm_mem::internal
