// Runs the shared loops over lanes that record every access, and so holds them to
// the guest-memory contract of copy_kernels.h, case by case and without chance.

#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "vm_mem/internal/copy_kernels.h"
#include "vm_mem/internal/host_instructions.h"
#include "vm_mem/internal/long_copy.h"
#include "vm_mem/internal/size_history.h"
#include "vm_mem/internal/word_lanes.h"

namespace vm_mem::internal {
namespace {

constexpr std::size_t kWordBytes = 8;

// What the kernel under test did to one pair of ranges of n bytes.
struct Recorder {
  const std::byte* src = nullptr;
  const std::byte* dst = nullptr;
  std::size_t n = 0;
  std::size_t bad_loads = 0;
  std::size_t bad_stores = 0;
  std::vector<unsigned char> stored;

  bool keeps_words(const std::byte* base, const std::byte* p, std::size_t bytes) const {
    const std::size_t at = static_cast<std::size_t>(p - base);
    return p >= base && at + bytes <= n && at % kWordBytes == 0 && bytes % kWordBytes == 0;
  }
  void load(const std::byte* p, std::size_t bytes) {
    if (!keeps_words(src, p, bytes)) ++bad_loads;
  }
  void store(const std::byte* p, std::size_t bytes) {
    if (!keeps_words(dst, p, bytes)) {
      ++bad_stores;
    } else {
      std::memset(stored.data() + (p - dst), 1, bytes);
    }
  }
};

Recorder recorder;

template <typename Word, typename HalfLane>
struct RecordedWord : WordLane<Word, HalfLane> {
  using Base = WordLane<Word, HalfLane>;
  using Half = HalfLane;
  static Word load(const std::byte* p) {
    recorder.load(p, sizeof(Word));
    return Base::load(p);
  }
  static void store(std::byte* p, Word word) {
    recorder.store(p, sizeof(Word));
    Base::store(p, word);
  }
  static void store_streaming(std::byte* p, Word word) { store(p, word); }
  static void fence() {}
};

using Recorded1 = RecordedWord<std::uint8_t, void>;
using Recorded2 = RecordedWord<std::uint16_t, Recorded1>;
using Recorded4 = RecordedWord<std::uint32_t, Recorded2>;
using Recorded8 = RecordedWord<std::uint64_t, Recorded4>;

template <std::size_t kWidth, typename HalfLane>
struct RecordedVector {
  static constexpr std::size_t kBytes = kWidth;
  using Reg = std::array<std::uint64_t, kWidth / kWordBytes>;
  using Half = HalfLane;

  static Reg load(const std::byte* p) {
    recorder.load(p, kWidth);
    Reg r;
    std::memcpy(r.data(), p, kWidth);
    return r;
  }
  static void store(std::byte* p, const Reg& r) {
    recorder.store(p, kWidth);
    std::memcpy(p, r.data(), kWidth);
  }
  static void store_streaming(std::byte* p, const Reg& r) {
    if (reinterpret_cast<std::uintptr_t>(p) % kWidth != 0) ++recorder.bad_stores;
    store(p, r);
  }
  static void fence() {}
  static Reg splat(std::byte value) {
    Reg r;
    r.fill(Lane8::splat(value));
    return r;
  }
  static Reg either(Reg a, const Reg& b) {
    for (std::size_t i = 0; i < a.size(); ++i) a[i] |= b[i];
    return a;
  }
  static Reg difference(Reg a, const Reg& b) {
    for (std::size_t i = 0; i < a.size(); ++i) a[i] ^= b[i];
    return a;
  }
  static bool is_zero(const Reg& r) { return r == Reg{}; }
};

using Recorded16 = RecordedVector<16, Recorded8>;
struct RecordedPair16 : Recorded16 {
  static void store_streaming_pair(std::byte* p, Reg low, Reg high) {
    if (reinterpret_cast<std::uintptr_t>(p) % (2 * kBytes) != 0) ++recorder.bad_stores;
    store(p, low);
    store(p + kBytes, high);
  }
};
using Recorded32 = RecordedVector<32, Recorded16>;
using Recorded64 = RecordedVector<64, Recorded32>;

bool always() { return true; }

namespace words {
using Lane = Recorded8;
#include "vm_mem/internal/copy_shapes.inc"
#include "vm_mem/internal/plain_by_ladder.inc"
constexpr CopyKernels kRow = make_row("words", always);
}  // namespace words
namespace vectors16 {
using Lane = Recorded16;
#include "vm_mem/internal/copy_shapes.inc"
#include "vm_mem/internal/plain_by_ladder.inc"
constexpr CopyKernels kRow = make_row("vectors16", always);
}  // namespace vectors16
namespace pairs16 {
using Lane = RecordedPair16;
#include "vm_mem/internal/copy_shapes.inc"
#include "vm_mem/internal/plain_by_ladder.inc"
constexpr CopyKernels kRow = make_row("pairs16", always);
}  // namespace pairs16
namespace vectors32 {
using Lane = Recorded32;
#include "vm_mem/internal/copy_shapes.inc"
#include "vm_mem/internal/plain_by_ladder.inc"
constexpr CopyKernels kRow = make_row("vectors32", always);
}  // namespace vectors32
namespace vectors64 {
using Lane = Recorded64;
#include "vm_mem/internal/copy_shapes.inc"
#include "vm_mem/internal/plain_by_ladder.inc"
constexpr CopyKernels kRow = make_row("vectors64", always);
}  // namespace vectors64

constexpr std::size_t kMaxBytes = 1600;
constexpr std::size_t kArena = kMaxBytes + 256;

class CopyShapesTest : public testing::TestWithParam<const CopyKernels*> {
 protected:
  // Calls `run` on dst and src as recorded ranges, and checks what it did.
  template <typename Run>
  static void check(std::byte* dst, const std::byte* src, std::size_t n, Run run) {
    recorder = {.src = src, .dst = dst, .n = n, .stored = std::vector<unsigned char>(n)};
    run(*GetParam());
    EXPECT_EQ(recorder.bad_loads, 0u) << where(dst, src, n);
    EXPECT_EQ(recorder.bad_stores, 0u) << where(dst, src, n);
    EXPECT_EQ(recorder.stored, std::vector<unsigned char>(n, 1)) << where(dst, src, n);
  }
  static std::string where(const std::byte* dst, const std::byte* src, std::size_t n) {
    return "bytes " + std::to_string(n) + " dst % 64 = " + std::to_string(past_line(dst)) +
           " src % 64 = " + std::to_string(past_line(src));
  }
  static std::size_t past_line(const std::byte* p) {
    return reinterpret_cast<std::uintptr_t>(p) % 64;
  }

  alignas(64) inline static std::array<std::byte, kArena> source{};
  alignas(64) inline static std::array<std::byte, kArena> target{};
};

std::vector<std::size_t> whole_word_lengths() {
  std::vector<std::size_t> lengths;
  for (std::size_t n = 0; n <= kMaxBytes; n += n < 640 ? 8 : 72) lengths.push_back(n);
  return lengths;
}

// Either side may be the guest's, so that the other may have any alignment.
TEST_P(CopyShapesTest, CopyAndMoveKeepWordsOnEitherSide) {
  for (const std::size_t n : whole_word_lengths()) {
    for (std::size_t shift = 0; shift < 64; ++shift) {
      for (const std::size_t other : {0u, 8u, 40u}) {
        for (const auto& [to, from] : {std::pair{shift, other}, std::pair{other, shift}}) {
          std::byte* const dst = target.data() + to;
          const std::byte* const src = source.data() + from;
          check(dst, src, n, [&](const CopyKernels& row) { row.copy_words(dst, src, n); });
          check(dst, src, n, [&](const CopyKernels& row) { row.move(dst, src, n); });
        }
      }
    }
  }
}

TEST_P(CopyShapesTest, MoveKeepsWordsWhereRangesOverlap) {
  for (const std::size_t n : whole_word_lengths()) {
    for (std::size_t distance = 0; distance <= 136; ++distance) {
      for (const auto& [to, from] :
           {std::pair{std::size_t{0}, distance}, std::pair{distance, std::size_t{0}}}) {
        std::byte* const dst = target.data() + to;
        const std::byte* const src = target.data() + from;
        check(dst, src, n, [&](const CopyKernels& row) { row.move(dst, src, n); });
      }
    }
  }
}

TEST_P(CopyShapesTest, SetKeepsWords) {
  for (const std::size_t n : whole_word_lengths()) {
    for (std::size_t to = 0; to < 64; ++to) {
      std::byte* const dst = target.data() + to;
      check(dst, dst, n, [&](const CopyKernels& row) { row.set(dst, std::byte{1}, n); });
    }
  }
}

TEST_P(CopyShapesTest, StreamKeepsWordsWhereTheDestinationIsAligned) {
  for (const std::size_t n : whole_word_lengths()) {
    for (std::size_t from = 0; from < 64; ++from) {
      for (std::size_t to = 0; to < 64; to += 8) {
        std::byte* const dst = target.data() + to;
        const std::byte* const src = source.data() + from;
        check(dst, src, n, [&](const CopyKernels& row) { row.stream(dst, src, n); });
      }
    }
  }
}

TEST_P(CopyShapesTest, CompareAndZeroScanReadWholeWords) {
  source.fill(std::byte{0});
  for (const std::size_t n : whole_word_lengths()) {
    const std::byte* const p = source.data() + 3;
    recorder = {.src = p, .dst = p, .n = n, .stored = {}};
    EXPECT_EQ(GetParam()->compare(p, p, n), 0);
    EXPECT_TRUE(GetParam()->is_zero(p, n));
    EXPECT_EQ(recorder.bad_loads, 0u) << n;
  }
}

INSTANTIATE_TEST_SUITE_P(PerWidth, CopyShapesTest,
                         testing::Values(&words::kRow, &vectors16::kRow, &pairs16::kRow,
                                         &vectors32::kRow, &vectors64::kRow),
                         [](const auto& row) { return std::string(row.param->isa); });

}  // namespace
}  // namespace vm_mem::internal
