// Rows with a bug each: verification that finds none of them would be worth nothing.

#include "tools/vmmem/verify.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

namespace vmmem {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;
using vm_mem::CopyRow;

CopyRow sound_row() { return vm_mem::copy_rows().back(); }

// So many cases find each of these bugs, whatever the seed.
constexpr std::uint64_t kCases = 6000;

VerifyResult run(const CopyRow& row, std::uint64_t seed = 1) {
  VerifyResult result;
  for (std::uint64_t number = 0; number < kCases && !result.mismatch; ++number) {
    result = verify({.rows = {row}, .seed = seed, .time = milliseconds(0), .one_case = number},
                    [](double) {});
  }
  return result;
}

struct Bug {
  const char* name;
  const char* operation;
  void (*plant)(CopyRow& row);
};

void forget_last_byte(std::byte* dst, const std::byte* src, std::size_t n) {
  if (n != 0) std::memcpy(dst, src, n - 1);
}
void write_one_more(std::byte* dst, const std::byte* src, std::size_t n) {
  std::memcpy(dst, src, n);
  if (n > 64) dst[n] = std::byte{0};
}
void read_one_more(std::byte* dst, const std::byte* src, std::size_t n) {
  __asm__ volatile("" : : "r"(std::to_integer<int>(src[n])) : "memory");
  std::memcpy(dst, src, n);
}
// Only where a size came four times before, by which rows choose their code.
void forget_what_repeats(std::byte* dst, const std::byte* src, std::size_t n) {
  static std::size_t last = 0;
  static int repeats = 0;
  repeats = n == last ? repeats + 1 : 0;
  last = n;
  if (n != 0) std::memcpy(dst, src, repeats < 4 ? n : n - 1);
  if (repeats >= 4 && n != 0) dst[n - 1] = ~src[n - 1];
}
void always_forward(std::byte* dst, const std::byte* src, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) {
    dst[i] = src[i];
    __asm__ volatile("" ::: "memory");
  }
}
void skip_one(std::byte* dst, std::byte value, std::size_t n) {
  std::memset(dst, std::to_integer<int>(value), n);
  if (n == 63) dst[31] ^= std::byte{1};
}
int signed_compare(const std::byte* a, const std::byte* b, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) {
    if (a[i] == b[i]) continue;
    return static_cast<signed char>(a[i]) < static_cast<signed char>(b[i]) ? -1 : 1;
  }
  return 0;
}
bool equal_as_strings(const std::byte* a, const std::byte* b, std::size_t n) {
  return std::memcmp(a, b, n / 2) == 0;
}
bool ignores_the_end(const std::byte* p, std::size_t n) {
  for (std::size_t i = 0; i < n / 8 * 8; ++i) {
    if (p[i] != std::byte{0}) return false;
  }
  return true;
}

constexpr Bug kBugs[] = {
    {"ForgetsTheLastByte", "copy", [](CopyRow& row) { row.copy = forget_last_byte; }},
    {"ForgetsWhatRepeats", "copy", [](CopyRow& row) { row.copy = forget_what_repeats; }},
    {"WritesOneMore", "copy", [](CopyRow& row) { row.copy = write_one_more; }},
    {"ReadsOneMore", "copy", [](CopyRow& row) { row.copy = read_one_more; }},
    {"ForgetsTheLastByteOfWords", "copy_words",
     [](CopyRow& row) { row.copy_words = forget_last_byte; }},
    {"IsEqualAsStringsAre", "equal", [](CopyRow& row) { row.equal = equal_as_strings; }},
    {"MovesForwardAlone", "move", [](CopyRow& row) { row.move = always_forward; }},
    {"SkipsAByteOfOneSize", "set", [](CopyRow& row) { row.set = skip_one; }},
    {"ComparesSigned", "compare", [](CopyRow& row) { row.compare = signed_compare; }},
    {"IgnoresTheEnd", "is_zero", [](CopyRow& row) { row.is_zero = ignores_the_end; }},
    {"StreamsOneMore", "stream", [](CopyRow& row) { row.stream = write_one_more; }},
};

class VerifyBugTest : public testing::TestWithParam<Bug> {};

TEST_P(VerifyBugTest, IsFoundAndFoundAgain) {
  CopyRow row = sound_row();
  GetParam().plant(row);
  const VerifyResult result = run(row);
  ASSERT_TRUE(result.mismatch);
  EXPECT_EQ(operation_name(result.mismatch->drawn.operation), GetParam().operation);
  EXPECT_EQ(result.mismatch->row, "scalar");
  const std::uint64_t number = result.mismatch->drawn.number;
  const VerifyResult again = verify(
      {.rows = {row}, .seed = 1, .time = milliseconds(0), .one_case = number}, [](double) {});
  ASSERT_TRUE(again.mismatch);
  EXPECT_EQ(again.mismatch->what, result.mismatch->what);
  EXPECT_EQ(again.total, 1u);
}

INSTANTIATE_TEST_SUITE_P(PerBug, VerifyBugTest, testing::ValuesIn(kBugs),
                         [](const auto& bug) { return std::string(bug.param.name); });

TEST(VerifyTest, FindsNothingInRowsThatAreSound) {
  for (const CopyRow& row : vm_mem::copy_rows()) {
    if (!row.supported) continue;
    const VerifyResult result = run(row, 42);
    EXPECT_FALSE(result.mismatch) << reproducer(*result.mismatch, 42);
  }
}

TEST(VerifyTest, CountsCasesByRowAndStopsWithItsTime) {
  std::vector<double> heard;
  const VerifyResult result = verify(
      {.rows = {sound_row(), sound_row()}, .seed = 3, .time = milliseconds(20), .one_case = {}},
      [&](double fraction) { heard.push_back(fraction); });
  ASSERT_EQ(result.cases.size(), 2u);
  EXPECT_EQ(result.cases[0].second, result.cases[1].second);
  EXPECT_EQ(result.total, 2 * result.cases[0].second);
  ASSERT_FALSE(heard.empty());
  EXPECT_LT(heard.back(), 1);
  EXPECT_THAT(verify_text(result), HasSubstr("seed 3, 0 mismatches"));
}

TEST(VerifyTest, DrawsTheSameCaseFromTheSameSeed) {
  const VerifyCase drawn = draw_case(5, 77);
  EXPECT_EQ(drawn.bytes, draw_case(5, 77).bytes);
  EXPECT_EQ(drawn.dst, draw_case(5, 77).dst);
  EXPECT_NE(drawn.content, draw_case(6, 77).content);
  EXPECT_NE(drawn.content, draw_case(5, 78).content);
}

TEST(VerifyTest, CasesStayInTheirArenaAndReachBothEnds) {
  bool front = false;
  bool back = false;
  bool large = false;
  for (std::uint64_t number = 0; number < 10'000; ++number) {
    const VerifyCase drawn = draw_case(1, number);
    ASSERT_LE(drawn.dst + drawn.bytes, VerifyBench::kArenaBytes);
    ASSERT_LE(drawn.src + drawn.bytes, VerifyBench::kArenaBytes);
    front = front || drawn.dst == 0;
    back = back || (drawn.bytes != 0 && drawn.src + drawn.bytes == VerifyBench::kArenaBytes);
    large = large || drawn.bytes > 64 << 10;
  }
  EXPECT_TRUE(front && back && large);
}

TEST(VerifyTest, AReproducerNamesEverything) {
  const Mismatch mismatch{
      "avx2",
      {.number = 9, .operation = Operation::kMove, .bytes = 100, .dst = 7, .src = 3, .content = 0},
      "memory offset 8: wrong"};
  EXPECT_EQ(reproducer(mismatch, 5),
            "avx2 move: 100 bytes, destination offset 7, source offset 3: memory offset 8: wrong; "
            "again with: vmmem verify --isa avx2 --seed 5 --case 9");
}

}  // namespace
}  // namespace vmmem
