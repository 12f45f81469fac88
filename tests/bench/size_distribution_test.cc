#include "bench/harness/size_distribution.h"

#include <gmock/gmock.h>

namespace vm_bench {
namespace {

using testing::AllOf;
using testing::HasSubstr;

std::string refusal(std::string_view text) {
  const auto sizes = parse_sizes(text, "sizes.csv");
  return sizes.ok() ? "" : std::string(sizes.status().message());
}

TEST(SizeDistributionTest, ReadsPairs) {
  const auto sizes = parse_sizes("0:0.25,64:0.5,4096:0.25", "sizes.csv");
  ASSERT_TRUE(sizes.ok()) << sizes.status();
  ASSERT_EQ(sizes->size(), 3U);
  EXPECT_EQ((*sizes)[2].bytes, 4096U);
  EXPECT_EQ((*sizes)[1].share, 0.5);
}

TEST(SizeDistributionTest, LooksAtTheFirstLineAlone) {
  const auto sizes = parse_sizes("8:1\r\n0:0.9,1:0.1\nanything\n", "sizes.csv");
  ASSERT_TRUE(sizes.ok()) << sizes.status();
  EXPECT_EQ(sizes->size(), 1U);
}

TEST(SizeDistributionTest, ForgivesRounding) { EXPECT_EQ(refusal("1:0.333,2:0.333,3:0.333"), ""); }

TEST(SizeDistributionTest, RefusesAnEmptyFile) {
  EXPECT_THAT(refusal(""),
              AllOf(HasSubstr("sizes.csv:1: read an empty line"), HasSubstr("want BYTES:SHARE")));
  EXPECT_THAT(refusal("\n1:1\n"), HasSubstr("sizes.csv:1: read an empty line"));
}

TEST(SizeDistributionTest, RefusesASumThatIsNotOne) {
  EXPECT_EQ(refusal("1:0.5,2:0.6"),
            "sizes.csv:1: read shares that sum to 1.1; want 1, give or take 0.01");
  EXPECT_THAT(refusal("1:0"), HasSubstr("sum to 0;"));
}

TEST(SizeDistributionTest, RefusesWhatIsNoPairAndSaysWhere) {
  EXPECT_THAT(refusal("1:0.5,two:0.5"), HasSubstr("sizes.csv:1: read \"two:0.5\" at column 7;"));
  for (const char* pair : {"", "1", "1:", ":1", "1:1:1", "-1:1", "1:-1", "1:2", "1:nan", "1:1x",
                           " 1:1", "1.5:1", "16777217:1", "99999999999999999999:1"}) {
    EXPECT_THAT(refusal(std::string("8:0.5,") + pair), HasSubstr("at column 7; want BYTES:SHARE"))
        << pair;
  }
}

TEST(SizeDistributionTest, SaysWhyAFileCannotBeRead) {
  EXPECT_EQ(read_sizes("/no/such/file").status().message(),
            "/no/such/file: cannot be read: No such file or directory");
  EXPECT_EQ(read_sizes("/proc").status().message(), "/proc: cannot be read: Is a directory");
  EXPECT_THAT(std::string(read_sizes("/dev/null").status().message()),
              HasSubstr("/dev/null:1: read an empty line"));
}

}  // namespace
}  // namespace vm_bench
