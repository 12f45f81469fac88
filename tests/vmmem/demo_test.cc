#include "tools/vmmem/demo.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

namespace vmmem {
namespace {

using testing::HasSubstr;
using testing::Not;

const std::vector<DemoLine> kLines = {{"64", 2.5, 1.0, 2.5}, {"16M", 5e5, 6e5, 0.83}};

Description long_names() {
  Description made;
  made.cpu.brand = std::string(48, 'B');
  made.cpu.vendor_name = "GenuineIntel";
  made.row = "avx512";
  made.origin.defaults = "some very long name of a group of CPUs that nobody would give them";
  made.choice = vm_mem::RowChoice::kNarrower;
  return made;
}

// A UTF-8 character counts as one column.
std::size_t columns(const std::string& line) {
  std::size_t count = 0;
  for (const char c : line) count += (static_cast<unsigned char>(c) & 0xc0) != 0x80 ? 1 : 0;
  return count;
}

TEST(DemoTest, FitsIn80ColumnsWhateverTheNames) {
  std::vector<DemoLine> lines(40, {"any 1-4096", 123.4, 567.8, 0.5});
  lines.push_back({"16M", 999.9e6, 999.9e6, 99.99});
  for (const Charset charset : {Charset::kAscii, Charset::kUtf8}) {
    const Style style{.charset = charset};
    std::istringstream text(demo_found(long_names(), style) + demo_verified({}, style) +
                            demo_table(lines, style) + demo_next(style));
    for (std::string line; std::getline(text, line);) EXPECT_LE(columns(line), 80u) << line;
  }
}

TEST(DemoTest, SaysWhereItIsSlower) {
  EXPECT_THAT(demo_table(kLines, {}), HasSubstr("Slower than libc here: 16M (0.83).\n"));
  EXPECT_THAT(demo_table({kLines[0]}, {}), HasSubstr("Slower than libc here: nothing in"));
}

TEST(DemoTest, ColoursAndBlocksOnlyWhereTheyAreWanted) {
  const std::string plain = demo_table(kLines, {});
  EXPECT_THAT(plain, HasSubstr("2.50  #########################\n"));
  EXPECT_THAT(plain, Not(HasSubstr("\x1b")));
  EXPECT_THAT(demo_table(kLines, {.charset = Charset::kUtf8, .coloured = true}),
              HasSubstr("\x1b[32m\u2588"));
}

TEST(DemoTest, DoesNotHideAMismatch) {
  VerifyResult result;
  result.mismatch = Mismatch{};
  EXPECT_THAT(demo_verified(result, {}), HasSubstr("A MISMATCH"));
  EXPECT_THAT(demo_verified({}, {}), HasSubstr("0 mismatches"));
}

}  // namespace
}  // namespace vmmem
