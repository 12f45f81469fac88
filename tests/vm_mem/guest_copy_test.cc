#include "vm_mem/guest_copy.h"

#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <vector>

#include "tests/support/guarded_buffer.h"

namespace vm_mem::internal {
namespace {

using vm_test::Edge;
using vm_test::GuardedBuffer;

constexpr std::size_t kMaxBytes = 300;
constexpr std::array kEdges = {Edge::kFront, Edge::kBack};

void number(std::span<std::byte> bytes, unsigned first) {
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(first++ % 251);
}

bool same(std::span<const std::byte> a, std::span<const std::byte> b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size()) == 0);
}

using CopyFn = void (*)(std::byte*, const std::byte*, std::size_t);

void check_edges(CopyFn copy) {
  const GuardedBuffer src(kMaxBytes);
  const GuardedBuffer dst(kMaxBytes);
  for (const Edge src_edge : kEdges) {
    for (const Edge dst_edge : kEdges) {
      for (std::size_t n = 0; n <= kMaxBytes; ++n) {
        const auto from = src.at(src_edge, n);
        const auto to = dst.at(dst_edge, n);
        number(from, 7);
        std::memset(to.data(), 0, n);
        copy(to.data(), from.data(), n);
        ASSERT_TRUE(same(to, from)) << n;
      }
    }
  }
}

void check_alignments(CopyFn copy) {
  std::array<std::byte, 512> src;
  number(src, 1);
  for (std::size_t shift = 0; shift < 64; ++shift) {
    const std::byte* const from = src.data() + shift % 8;
    for (std::size_t n = 0; n <= kMaxBytes; ++n) {
      std::array<std::byte, 512> dst{};
      std::array<std::byte, 512> want{};
      std::memcpy(want.data() + shift / 8, from, n);
      copy(dst.data() + shift / 8, from, n);
      ASSERT_TRUE(same(dst, want)) << "shift " << shift << " bytes " << n;
    }
  }
}

TEST(GuestCopyTest, StaysInsideBothBuffers) {
  check_edges(copy_to_guest);
  check_edges(copy_from_guest);
  check_edges(copy_within_guest);
}

TEST(GuestCopyTest, CopiesEveryLengthAtEveryAlignment) {
  check_alignments(copy_to_guest);
  check_alignments(copy_from_guest);
  check_alignments(copy_within_guest);
}

TEST(GuestCopyTest, WithinGuestIsMemmove) {
  for (std::size_t from = 0; from < 80; ++from) {
    for (std::size_t n = 0; n <= kMaxBytes; n += 1 + n / 40) {
      for (std::size_t to = 0; to < 80; ++to) {
        std::array<std::byte, 400> got;
        number(got, 3);
        std::array<std::byte, 400> want = got;
        std::memmove(want.data() + to, want.data() + from, n);
        copy_within_guest(got.data() + to, got.data() + from, n);
        ASSERT_TRUE(same(got, want)) << from << " -> " << to << " bytes " << n;
      }
    }
  }
}

TEST(GuestCopyTest, FillsEveryLengthAtEveryAlignment) {
  const GuardedBuffer guarded(kMaxBytes);
  for (std::size_t n = 0; n <= kMaxBytes; ++n) {
    for (const Edge edge : kEdges) fill_guest(guarded.at(edge, n).data(), std::byte{9}, n);
    for (std::size_t shift = 0; shift < 16; ++shift) {
      std::array<std::byte, 512> got{};
      std::array<std::byte, 512> want{};
      std::memset(want.data() + shift, 0xa5, n);
      fill_guest(got.data() + shift, std::byte{0xa5}, n);
      ASSERT_TRUE(same(got, want)) << "shift " << shift << " bytes " << n;
    }
  }
}

TEST(GuestCopyTest, LargeCopiesThatStreamAreWhole) {
  constexpr std::size_t kBytes = (std::size_t{9} << 20) + 13;
  std::vector<std::byte> src(kBytes + 16);
  number(src, 5);
  for (const std::size_t shift : {0u, 3u, 8u}) {
    std::vector<std::byte> dst(kBytes + 16);
    copy_to_guest(dst.data() + shift, src.data() + 1, kBytes);
    EXPECT_TRUE(same(std::span(dst).subspan(shift, kBytes), std::span(src).subspan(1, kBytes)));
    copy_from_guest(dst.data() + 1, src.data() + shift, kBytes);
    EXPECT_TRUE(same(std::span(dst).subspan(1, kBytes), std::span(src).subspan(shift, kBytes)));
  }
}

}  // namespace
}  // namespace vm_mem::internal
