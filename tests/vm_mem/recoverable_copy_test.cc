// Where the host fails at any byte, each copy does exactly what is before it: by kind of
// failure, by row of the copy core, by length, by distance to the failure.
#include "vm_mem/internal/recoverable_copy.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "tests/support/bytes.h"
#include "tests/support/faulty_memory.h"
#include "vm_mem/host_fault.h"
#include "vm_mem/internal/copy_kernels.h"
#include "vm_mem/internal/copy_state.h"
#include "vm_mem/internal/host_instructions.h"

namespace vm_mem::internal {
namespace {

using vm_test::FaultyMemory;
using vm_test::HostFailure;

constexpr std::size_t kPage = FaultyMemory::kPage;
constexpr std::size_t kGood = FaultyMemory::kGood;
constexpr std::byte kValue{0x5c};

std::byte pattern(std::size_t i) { return static_cast<std::byte>((i * 37 + i / 251) % 253); }

// Lengths, and how far before the failure each begins.
struct Case {
  std::size_t bytes;
  std::size_t before;
};

std::vector<Case> cases() {
  std::vector<Case> all;
  for (std::size_t n = 1; n <= 40; ++n) {
    for (std::size_t before = 0; before <= n; ++before) all.push_back({n, before});
  }
  for (const std::size_t n : {47u, 48u, 63u, 64u, 65u, 80u, 127u, 128u, 130u, 200u, 256u}) {
    for (std::size_t before = 0; before <= n; before += 1 + before % 5) all.push_back({n, before});
  }
  for (const std::size_t n : {300u, 511u, 512u, 520u, 1000u, 1024u, 2048u, 3000u, 4096u, 4099u}) {
    for (std::size_t near = 0; near <= 70; near += 1 + near % 9) {
      all.push_back({n, near});
      all.push_back({n, n - near});
      all.push_back({n, n / 2 + near});
    }
  }
  return all;
}

// Two of the distances between source and destination: all take their turn.
std::array<std::size_t, 2> distances_for(std::size_t turn) {
  constexpr std::array<std::size_t, 7> kAll = {1, 7, 8, 24, 70, 133, 1024};
  return {kAll[turn % kAll.size()], kAll[(turn / 3 + 3) % kAll.size()]};
}

class RecoverableCopyTest
    : public testing::TestWithParam<std::tuple<const CopyKernels*, HostFailure>> {
 protected:
  RecoverableCopyTest()
      : row_(*std::get<0>(GetParam())),
        memory_(std::get<1>(GetParam())),
        pattern_(2 * kGood),
        model_(2 * kGood) {
    for (std::size_t i = 0; i < pattern_.size(); ++i) pattern_[i] = pattern(i);
  }

  void SetUp() override {
    if (!row_.supported()) GTEST_SKIP() << "not on this CPU";
    if (!memory_.fails()) GTEST_SKIP() << "the host has huge pages to fill the hole with";
    ASSERT_TRUE(install_host_fault_handler().ok());
    active_kernels();
    before_ = raw_copy_state.row.exchange(&row_);
  }
  void TearDown() override {
    if (before_ != nullptr) raw_copy_state.row.store(before_);
  }

  bool reads_fail() const { return !memory_.allows_reads(); }

  // The good pages, as one piece, get their pattern.
  void reset() {
    std::copy(pattern_.begin(), pattern_.end(), model_.begin());
    std::memcpy(memory_.begin(), model_.data(), kGood);
    std::memcpy(memory_.bad_end(), model_.data() + kGood, kGood);
  }
  bool matches_model() const {
    return std::memcmp(memory_.begin(), model_.data(), kGood) == 0 &&
           std::memcmp(memory_.bad_end(), model_.data() + kGood, kGood) == 0;
  }

  const CopyKernels& row_;
  FaultyMemory memory_;
  std::vector<std::byte> pattern_;
  std::vector<std::byte> model_;
  const CopyKernels* before_ = nullptr;
};

std::vector<std::byte> numbered(std::size_t bytes) {
  std::vector<std::byte> all(bytes);
  for (std::size_t i = 0; i < bytes; ++i) all[i] = pattern(i + 1000);
  return all;
}

TEST_P(RecoverableCopyTest, WritesExactlyWhatIsBeforeTheFailure) {
  const std::vector<std::byte> source = numbered(kPage + 64);
  for (const auto& [bytes, before] : cases()) {
    reset();
    const std::byte* const from = source.data() + (bytes + before) % 9;
    const std::size_t want = std::min(bytes, before);
    std::copy_n(from, want, model_.begin() + static_cast<std::ptrdiff_t>(kGood - before));
    ASSERT_EQ(copy_to_guest_or_fault(memory_.bad() - before, from, bytes), want)
        << bytes << " bytes, " << before << " before";
    ASSERT_TRUE(matches_model()) << bytes << " bytes, " << before << " before";
  }
}

TEST_P(RecoverableCopyTest, FillsExactlyWhatIsBeforeTheFailure) {
  for (const auto& [bytes, before] : cases()) {
    reset();
    const std::size_t want = std::min(bytes, before);
    std::fill_n(model_.begin() + static_cast<std::ptrdiff_t>(kGood - before), want, kValue);
    ASSERT_EQ(fill_guest_or_fault(memory_.bad() - before, kValue, bytes), want)
        << bytes << " bytes, " << before << " before";
    ASSERT_TRUE(matches_model()) << bytes << " bytes, " << before << " before";
  }
}

TEST_P(RecoverableCopyTest, ReadsExactlyWhatIsBeforeTheFailure) {
  if (!reads_fail()) GTEST_SKIP() << "these pages can be read";
  reset();
  std::vector<std::byte> buffer(kPage + 128);
  for (const auto& [bytes, before] : cases()) {
    std::fill(buffer.begin(), buffer.end(), kValue);
    const std::size_t want = std::min(bytes, before);
    std::byte* const to = buffer.data() + (bytes + before) % 9;
    ASSERT_EQ(copy_from_guest_or_fault(to, memory_.bad() - before, bytes), want)
        << bytes << " bytes, " << before << " before";
    ASSERT_EQ(std::memcmp(to, memory_.bad() - before, want), 0) << bytes << ' ' << before;
    const std::span after(to + want, buffer.data() + buffer.size());
    ASSERT_TRUE(vm_test::all_are(after, kValue))
        << bytes << " bytes, " << before << " before";
  }
}

TEST_P(RecoverableCopyTest, DoesNothingWhereTheFirstByteFails) {
  const std::vector<std::byte> source = numbered(512);
  std::vector<std::byte> buffer(512, kValue);
  reset();
  for (std::size_t inside = 1; inside <= 70; ++inside) {
    std::byte* const at = memory_.bad_end() - inside;
    for (const std::size_t bytes : {inside, inside + 1, inside + 8, inside + 100, inside + 400}) {
      ASSERT_EQ(copy_to_guest_or_fault(at, source.data(), bytes), 0u) << inside << ' ' << bytes;
      ASSERT_EQ(fill_guest_or_fault(at, kValue, bytes), 0u) << inside << ' ' << bytes;
      if (!reads_fail()) continue;
      ASSERT_EQ(copy_from_guest_or_fault(buffer.data(), at, bytes), 0u) << inside << ' ' << bytes;
      ASSERT_EQ(std::count(buffer.begin(), buffer.end(), kValue), 512) << inside << ' ' << bytes;
    }
  }
  EXPECT_TRUE(matches_model());
}

// The limits by which long copies choose their path; restored at the end.
class PathLimits {
 public:
  PathLimits(std::size_t prefetch_min, std::size_t string_min, std::size_t stream_min) {
    CopyState& state = raw_copy_state;
    set(state.least_long, 0);
    set(state.prefetch_min, prefetch_min);
    set(state.rep_movsb_min, string_min);
    set(state.rep_movsb_hot_min, 0);
    set(state.rep_movsb_max, string_min == kNever ? 0 : kNever);
    set(state.string_fill_min, string_min);
    set(state.stream_min, stream_min);
  }
  PathLimits(const PathLimits&) = delete;
  PathLimits& operator=(const PathLimits&) = delete;
  ~PathLimits() {
    for (const auto& [field, value] : before_) field->store(value);
  }

 private:
  void set(std::atomic<std::size_t>& field, std::size_t value) {
    before_.emplace_back(&field, field.exchange(value));
  }
  std::vector<std::pair<std::atomic<std::size_t>*, std::size_t>> before_;
};

TEST_P(RecoverableCopyTest, EveryPathOfLongCopiesIsExact) {
  const std::vector<std::byte> source = numbered(kPage + 64);
  std::vector<std::byte> buffer(kPage + 64);
  for (int path = 0; path < 3; ++path) {
    if (path == 1 && !has_string_copy()) continue;
    const PathLimits limits(path == 0 ? 128 : kNever, path == 1 ? 128 : kNever,
                            path == 2 ? 128 : kNever);
    for (const std::size_t bytes : {200u, 520u, 1024u, 1500u, 2304u, 4096u}) {
      for (std::size_t before = 0; before <= bytes; before += 1 + (before * 7) % 41) {
        const std::size_t shift = before % 3 * 4;
        std::byte* const at = memory_.bad() - before;
        reset();
        std::copy_n(source.data() + shift, before, model_.begin() + (at - memory_.begin()));
        ASSERT_EQ(copy_to_guest_or_fault(at, source.data() + shift, bytes), before) << path;
        ASSERT_TRUE(matches_model()) << path << ' ' << bytes << ' ' << before;
        if (reads_fail()) {
          ASSERT_EQ(copy_from_guest_or_fault(buffer.data() + shift, at, bytes), before) << path;
          ASSERT_EQ(std::memcmp(buffer.data() + shift, at, before), 0) << path;
        }
        std::fill_n(model_.begin() + (at - memory_.begin()), before, kValue);
        ASSERT_EQ(fill_guest_or_fault(at, kValue, bytes), before) << path;
        ASSERT_TRUE(matches_model()) << path << ' ' << bytes << ' ' << before;
      }
    }
  }
}

TEST_P(RecoverableCopyTest, MovesToAFailureLeaveAPrefix) {
  for (const auto& [bytes, before] : cases()) {
    for (const std::size_t distance : distances_for(bytes + before)) {
      if (before > bytes || bytes + distance > kGood || before + distance + bytes > kGood) continue;
      reset();
      // Ascending: the destination, which runs into the failure, is above the source by
      // as much as keeps them apart.
      std::byte* const to = memory_.bad() - before;
      const std::byte* const from = to - bytes - distance;
      std::copy_n(from, before, model_.begin() + (to - memory_.begin()));
      const GuestMove moved = copy_ascending_or_fault(to, from, bytes);
      ASSERT_EQ(moved.done, before) << bytes << ' ' << before << ' ' << distance;
      if (before < bytes) {
        ASSERT_EQ(moved.side, AccessSide::kDestination);
      }
      ASSERT_TRUE(matches_model()) << bytes << ' ' << before << ' ' << distance;
    }
  }
}

TEST_P(RecoverableCopyTest, AscendingOverlapsStopAtAFailingSource) {
  if (!reads_fail()) GTEST_SKIP() << "these pages can be read";
  for (const auto& [bytes, before] : cases()) {
    for (const std::size_t distance : distances_for(bytes + before)) {
      if (before > bytes || before + distance > kGood || bytes > before + distance) continue;
      reset();
      const std::byte* const from = memory_.bad() - before;
      std::byte* const to = memory_.bad() - before - distance;
      std::memmove(model_.data() + (to - memory_.begin()), model_.data() + (from - memory_.begin()),
                   before);
      const GuestMove moved = copy_ascending_or_fault(to, from, bytes);
      ASSERT_EQ(moved.done, before) << bytes << ' ' << before << ' ' << distance;
      if (before < bytes) {
        ASSERT_EQ(moved.side, AccessSide::kSource);
      }
      ASSERT_TRUE(matches_model()) << bytes << ' ' << before << ' ' << distance;
    }
  }
}

TEST_P(RecoverableCopyTest, DescendingMovesToAFailureLeaveASuffix) {
  for (const auto& [bytes, after] : cases()) {
    if (after > bytes || bytes > kPage + after) continue;
    reset();
    // The last `after` bytes of the destination are above the failure.
    std::byte* const to = memory_.bad_end() + after - bytes;
    const std::byte* const from = memory_.begin() + bytes % 9;
    std::copy_n(from + bytes - after, after, model_.begin() + kGood);
    const GuestMove moved = copy_descending_or_fault(to, from, bytes);
    ASSERT_EQ(moved.done, after) << bytes << ' ' << after;
    if (after < bytes) {
      ASSERT_EQ(moved.side, AccessSide::kDestination);
    }
    ASSERT_TRUE(matches_model()) << bytes << ' ' << after;
  }
}

TEST_P(RecoverableCopyTest, DescendingOverlapsStopAtAFailingSource) {
  if (!reads_fail()) GTEST_SKIP() << "these pages can be read";
  for (const auto& [bytes, readable] : cases()) {
    for (const std::size_t distance : distances_for(bytes + readable)) {
      if (readable > bytes || readable + distance > kGood || bytes > kPage) continue;
      reset();
      // The last `readable` bytes of the source are above the failure.
      const std::byte* const from = memory_.bad_end() + readable - bytes;
      std::byte* const to = memory_.bad_end() + readable - bytes + distance;
      std::memmove(model_.data() + kGood + distance, model_.data() + kGood, readable);
      const GuestMove moved = copy_descending_or_fault(to, from, bytes);
      ASSERT_EQ(moved.done, readable) << bytes << ' ' << readable << ' ' << distance;
      if (readable < bytes) {
        ASSERT_EQ(moved.side, AccessSide::kSource);
      }
      ASSERT_TRUE(matches_model()) << bytes << ' ' << readable << ' ' << distance;
    }
  }
}

TEST_P(RecoverableCopyTest, OverlapsInReadOnlyPagesAreExactBothWays) {
  if (reads_fail()) GTEST_SKIP() << "these pages cannot be read";
  std::vector<std::byte> want(memory_.bytes());
  for (const auto& [bytes, done] : cases()) {
    for (const std::size_t distance : distances_for(bytes + done)) {
      if (done > bytes || bytes > kPage || done + distance > kPage) continue;
      reset();
      std::copy(memory_.begin(), memory_.end(), want.begin());
      // Ascending: the first `done` bytes of the destination are below the failure.
      std::byte* to = memory_.bad() - done;
      std::memmove(want.data() + (to - memory_.begin()), to + distance, done);
      ASSERT_EQ(copy_ascending_or_fault(to, to + distance, bytes).done, done);
      ASSERT_EQ(std::memcmp(memory_.begin(), want.data(), want.size()), 0) << bytes << ' ' << done;
      // Descending: the last ones are above it.
      to = memory_.bad_end() + done - bytes;
      std::memmove(want.data() + (memory_.bad_end() - memory_.begin()),
                   memory_.bad_end() - distance, done);
      ASSERT_EQ(copy_descending_or_fault(to, to - distance, bytes).done, done);
      ASSERT_EQ(std::memcmp(memory_.begin(), want.data(), want.size()), 0) << bytes << ' ' << done;
    }
  }
}

std::vector<HostFailure> all_failures() {
  return {vm_test::kHostFailures.begin(), vm_test::kHostFailures.end()};
}

INSTANTIATE_TEST_SUITE_P(PerRow, RecoverableCopyTest,
                         testing::Combine(testing::ValuesIn(built_copy_kernels().begin(),
                                                            built_copy_kernels().end()),
                                          testing::ValuesIn(all_failures())),
                         [](const auto& of) {
                           return std::string(std::get<0>(of.param)->isa) + "_" +
                                  std::string(vm_test::name_of(std::get<1>(of.param)));
                         });

}  // namespace
}  // namespace vm_mem::internal
