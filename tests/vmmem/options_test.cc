#include "tools/vmmem/options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace vmmem {
namespace {

using testing::ElementsAre;

std::variant<Options, Exit> parse(std::vector<const char*> arguments) {
  arguments.insert(arguments.begin(), "vmmem");
  return parse_options(static_cast<int>(arguments.size()), arguments.data());
}
Options accepted(std::vector<const char*> arguments) {
  return std::get<Options>(parse(std::move(arguments)));
}

TEST(OptionsTest, KnowsItsCommands) {
  EXPECT_EQ(accepted({"info"}).command, Command::kInfo);
  EXPECT_EQ(accepted({"verify"}).command, Command::kVerify);
  EXPECT_EQ(accepted({"bench"}).command, Command::kBench);
  EXPECT_EQ(accepted({"calibrate"}).command, Command::kCalibrate);
  EXPECT_EQ(accepted({"demo"}).command, Command::kDemo);
}

TEST(OptionsTest, TakesEverythingThatVerifyNames) {
  const Options options = accepted(
      {"verify", "--seconds", "1.5", "--seed", "7", "--isa", "avx2,sse2", "--case", "9", "--json"});
  EXPECT_EQ(options.time, std::chrono::milliseconds(1500));
  EXPECT_EQ(options.seed, 7u);
  EXPECT_EQ(options.one_case, 9u);
  EXPECT_THAT(options.rows, ElementsAre("avx2", "sse2"));
  EXPECT_EQ(options.format, Format::kJson);
}

TEST(OptionsTest, TakesEverythingThatBenchAndCalibrateName) {
  const Options bench = accepted({"bench", "--sizes", "64,4K", "--rows", "sse2"});
  EXPECT_THAT(bench.sizes, ElementsAre(64, 4096));
  EXPECT_THAT(bench.rows, ElementsAre("sse2"));
  const Options calibrate = accepted({"calibrate", "--output", "f", "--quick"});
  EXPECT_EQ(calibrate.output, "f");
  EXPECT_EQ(calibrate.effort, Effort::kQuick);
  EXPECT_EQ(accepted({"calibrate"}).output, "vm_mem.policy");
}

TEST(OptionsTest, HelpIsOfTheCommandAndHasAnExample) {
  for (const char* command : {"info", "verify", "bench", "calibrate", "demo"}) {
    const Exit help = std::get<Exit>(parse({command, "--help"}));
    EXPECT_EQ(help.status, 0);
    EXPECT_THAT(help.text, testing::HasSubstr("Example: vmmem " + std::string(command)));
    EXPECT_THAT(help.text, testing::HasSubstr("--json"));
  }
}

TEST(OptionsTest, EveryUsageErrorIsOneLineAndStatusTwo) {
  const std::vector<std::vector<const char*>> wrong = {
      {},
      {"bogus"},
      {"--bogus"},
      {"info", "--seconds", "1"},
      {"info", "verify"},
      {"verify", "--seconds", "0"},
      {"verify", "--seconds", "nan"},
      {"verify", "--seconds", "1e9"},
      {"verify", "--seed", "-1"},
      {"verify", "--seed", "x"},
      {"bench", "--sizes", "0"},
      {"bench", "--sizes", "1T"},
      {"bench", "--sizes", "1G"},
      {"calibrate", "--output", ""},
      {"calibrate", "extra"},
      {"snapshot"},
      {"snapshot", "bogus"},
      {"snapshot", "inspect"},
      {"snapshot", "verify", "a", "b"},
      {"snapshot", "diff", "a"},
      {"snapshot", "merge", "a", ""},
      {"snapshot", "merge", "a", "b", "--json"},
      {"snapshot", "merge", "a", "b", "--youngest", "0"},
      {"snapshot", "import", "a", "b"},
      {"snapshot", "import", "a", "b", "--region", "0x1000:4K", "--region", "0:4K"}};
  for (const auto& arguments : wrong) {
    const auto parsed = parse(arguments);
    ASSERT_TRUE(std::holds_alternative<Exit>(parsed)) << arguments.size();
    EXPECT_EQ(std::get<Exit>(parsed).status, 2);
    EXPECT_THAT(std::get<Exit>(parsed).text, testing::MatchesRegex("vmmem: [^\n]+\n"));
  }
}

TEST(OptionsTest, TakesEverythingThatSnapshotCommandsName) {
  const Options verify = accepted({"snapshot", "verify", "--alone", "f"});
  EXPECT_EQ(verify.command, Command::kSnapshot);
  EXPECT_EQ(verify.snapshot.command, SnapshotCommand::kVerify);
  EXPECT_EQ(verify.snapshot.file, "f");
  EXPECT_EQ(verify.snapshot.parents, vm_mem::SnapshotParents::kIgnore);
  const Options merge = accepted({"snapshot", "merge", "f", "o", "--youngest", "3", "--force"});
  EXPECT_EQ(merge.snapshot.command, SnapshotCommand::kMerge);
  EXPECT_EQ(merge.snapshot.other, "o");
  EXPECT_EQ(merge.snapshot.youngest, 3);
  EXPECT_EQ(merge.snapshot.existing, Existing::kReplaced);
  EXPECT_EQ(accepted({"snapshot", "export", "f", "o"}).snapshot.existing, Existing::kKept);
  EXPECT_EQ(accepted({"snapshot", "inspect", "f", "--json"}).format, Format::kJson);
  const Options import = accepted(
      {"snapshot", "import", "--region", "0:1M", "--region", "0x80000000:0x1000", "f", "o"});
  EXPECT_THAT(import.snapshot.regions,
              ElementsAre(*parse_region("0:1M"), *parse_region("0x80000000:4K")));
}

TEST(OptionsTest, RegionsAreOfWholePagesBelowTheEndOfAddresses) {
  EXPECT_EQ(parse_region("0x80000000:64M"),
            vm_mem::GuestRange::make(vm_mem::GuestAddress{0x80000000}, 64 << 20));
  for (const char* text : {"", ":", "0", "0:", ":4K", "4:4K", "0:0", "0:5", "0x:4K", "-1:4K",
                           "0:4K:", "0xfffffffffffff000:4K"}) {
    EXPECT_EQ(parse_region(text), std::nullopt) << text;
  }
}

TEST(OptionsTest, SizesHaveUnits) {
  EXPECT_EQ(parse_copy_size("1"), 1u);
  EXPECT_EQ(parse_copy_size("4k"), 4096u);
  EXPECT_EQ(parse_copy_size("256MiB"), std::size_t{256} << 20);
  for (const char* text : {"", "0", "K", "-1", "1.5K", "257M", "1X", "99999999999999999999"}) {
    EXPECT_EQ(parse_copy_size(text), std::nullopt) << text;
  }
}

}  // namespace
}  // namespace vmmem
