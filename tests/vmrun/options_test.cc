#include "tools/vmrun/options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace vmrun {
namespace {

std::variant<Options, Exit> parse(std::vector<const char*> arguments) {
  arguments.insert(arguments.begin(), "vmrun");
  return parse_options(static_cast<int>(arguments.size()), arguments.data());
}
Options accepted(std::vector<const char*> arguments) {
  return std::get<Options>(parse(std::move(arguments)));
}

TEST(OptionsTest, HasDefaults) {
  const Options options = accepted({});
  EXPECT_EQ(options.firmware, kDefaultFirmware);
  EXPECT_EQ(options.memory_bytes, kDefaultMemoryBytes);
  EXPECT_EQ(options.timeout, std::nullopt);
  EXPECT_EQ(options.stats, StatsFormat::kText);
  EXPECT_EQ(options.iommu, IommuMode::kOff);
  EXPECT_TRUE(options.disks.empty());
}

TEST(OptionsTest, TakesEverythingThatItNames) {
  const Options options = accepted({"--firmware", "f", "--disk", "a", "--disk=b", "--memory", "64M",
                                    "--script", "s", "--timeout", "1.5", "--stats", "json",
                                    "--stats-file", "out", "--iommu", "identity", "--harts", "2"});
  EXPECT_EQ(options.harts, 2u);
  EXPECT_EQ(options.firmware, "f");
  ASSERT_EQ(options.disks.size(), 2u);
  EXPECT_EQ(options.disks[0].path, "a");
  EXPECT_EQ(options.disks[1].path, "b");
  EXPECT_EQ(options.memory_bytes, std::uint64_t{64} << 20);
  EXPECT_EQ(options.script, "s");
  EXPECT_EQ(options.timeout, std::chrono::milliseconds(1500));
  EXPECT_EQ(options.stats, StatsFormat::kJson);
  EXPECT_EQ(options.stats_file, "out");
  EXPECT_EQ(options.iommu, IommuMode::kIdentity);
}

TEST(OptionsTest, AKernelIsStartedByOpenSbi) {
  const Options options = accepted({"--kernel", "k", "--initrd", "i", "--append", "a b"});
  EXPECT_EQ(options.firmware, kDefaultSbi);
  EXPECT_EQ(options.kernel, "k");
  EXPECT_EQ(options.initrd, "i");
  EXPECT_EQ(options.append, "a b");
  EXPECT_EQ(accepted({"--kernel", "k", "--firmware", "f"}).firmware, "f");
}

TEST(OptionsTest, TheProcessorIsTranslatedOnRequest) {
  EXPECT_EQ(accepted({}).cpu, CpuMode::kInterpreter);
  const Options options = accepted({"--cpu", "jit", "--memory-mode", "fastmem"});
  EXPECT_EQ(options.cpu, CpuMode::kJit);
  EXPECT_EQ(options.memory_mode, MemoryMode::kFastmem);
  EXPECT_EQ(options.loops, LoopMode::kRecognised);
  EXPECT_EQ(accepted({"--loops", "plain"}).loops, LoopMode::kPlain);
  EXPECT_EQ(std::get<Exit>(parse({"--loops", "none"})).status, 2);
  EXPECT_EQ(std::get<Exit>(parse({"--cpu", "none"})).status, 2);
  EXPECT_EQ(std::get<Exit>(parse({"--cpu", "jit", "--memory-mode", "none"})).status, 2);
}

TEST(OptionsTest, SlotsAreFilledInTheOrderGiven) {
  const Options options = accepted({"--disk", "a,readonly", "--disk", "b", "--net", "loop", "--net",
                                    "none", "--net", "dgram:x,y", "--rng", "--console", "-"});
  EXPECT_EQ(options.disks[0].path, "a");
  EXPECT_EQ(options.disks[0].access, vm_device::ImageAccess::kReadOnly);
  EXPECT_EQ(options.disks[1].access, vm_device::ImageAccess::kReadWrite);
  const auto& nets = options.slots.nets;
  ASSERT_EQ(nets.size(), 3u);
  EXPECT_EQ(nets[0].kind, NetKind::kLoop);
  EXPECT_EQ(nets[1].kind, NetKind::kUnplugged);
  EXPECT_EQ(nets[2].kind, NetKind::kSockets);
  EXPECT_EQ(nets[2].local, "x");
  EXPECT_EQ(nets[2].peer, "y");
  EXPECT_TRUE(options.slots.has_rng);
  EXPECT_EQ(options.slots.console, "-");
  EXPECT_EQ(options.slots.seed, std::nullopt);
}

TEST(OptionsTest, ASeedIsOfEveryChance) {
  const Options options = accepted({"--seed", "0x2a", "--instructions", "1000"});
  EXPECT_EQ(options.seed, 42u);
  EXPECT_EQ(options.slots.seed, 42u);
  EXPECT_EQ(options.instructions, 1000u);
  EXPECT_EQ(accepted({"--seed", "18446744073709551615"}).seed, UINT64_MAX);
}

TEST(OptionsTest, ADebuggerHasAPort) {
  EXPECT_EQ(accepted({}).gdb_port, std::nullopt);
  EXPECT_EQ(accepted({"--gdb", "0"}).gdb_port, 0);
  EXPECT_EQ(accepted({"--gdb", "65535"}).gdb_port, 65535);
}

TEST(OptionsTest, ATraceIsOfInstructionsUnlessToldOtherwise) {
  EXPECT_EQ(accepted({"--trace", "t"}).trace_kinds, TraceKinds{.instructions = true});
  const Options options = accepted({"--trace", "-", "--trace-what", "mmio,block,trap"});
  EXPECT_EQ(options.trace, "-");
  EXPECT_EQ(options.trace_kinds, (TraceKinds{.blocks = true, .traps = true, .mmio = true}));
}

TEST(OptionsTest, TheLastOfARepeatedOptionCounts) {
  const Options options = accepted({"--timeout", "120", "--firmware", "f", "--stats", "json",
                                    "--timeout", "5", "--firmware", "g", "--stats", "text"});
  EXPECT_EQ(options.timeout, std::chrono::seconds(5));
  EXPECT_EQ(options.firmware, "g");
  EXPECT_EQ(options.stats, StatsFormat::kText);
}

TEST(OptionsTest, HelpAndVersionAreNoErrors) {
  const Exit help = std::get<Exit>(parse({"--help"}));
  EXPECT_EQ(help.status, 0);
  EXPECT_THAT(help.text, testing::HasSubstr("--script"));
  const Exit version = std::get<Exit>(parse({"--version"}));
  EXPECT_EQ(version.status, 0);
  EXPECT_THAT(version.text, testing::StartsWith("vmrun "));
}

TEST(OptionsTest, EveryUsageErrorIsOneLineAndStatusTwo) {
  std::vector<std::vector<const char*>> wrong = {
      {"--bogus"},          {"extra"},
      {"--memory"},         {"--memory", "many"},
      {"--memory", "1M"},   {"--memory", "65G"},
      {"--timeout", "0"},   {"--timeout", "-1"},
      {"--timeout", "x"},   {"--stats", "xml"},
      {"--timeout", "nan"}, {"--script", ""},
      {"--disk"},           {"--disk", ""},
      {"--firmware", ""},   {"--stats-file", ""},
      {"--iommu", "on"},    {"--kernel", ""},
      {"--initrd", "i"},    {"--append", "a"},
      {"--harts", "0"},     {"--harts", "9"},
      {"--harts", "x"},     {"--harts", ""},
      {"--seed", "-1"},     {"--seed", ""},
      {"--seed", "0x"},     {"--seed", "18446744073709551616"},
      {"--console", ""},    {"--instructions", "0"},
      {"--net", "tap"},     {"--instructions", "1e6"},
      {"--net", "dgram:"},  {"--net", "dgram:a"},
      {"--net", "dgram:,"}, {"--memory-mode", "softtlb"},
      {"--net", ""},        {"--disk", ",readonly"},
      {"--trace", ""},      {"--trace-what", "insn"}};
  for (const char* port : {"", "-1", "65536", "gdb"}) wrong.push_back({"--gdb", port});
  for (const char* kinds : {"", "all", "insn,"}) {
    wrong.push_back({"--trace", "t", "--trace-what", kinds});
  }
  for (const auto& arguments : wrong) {
    const auto parsed = parse(arguments);
    ASSERT_TRUE(std::holds_alternative<Exit>(parsed)) << arguments[0];
    const Exit& exit = std::get<Exit>(parsed);
    EXPECT_EQ(exit.status, 2);
    EXPECT_THAT(exit.text, testing::MatchesRegex("vmrun: [^\n]+\n"));
  }
}

TEST(OptionsTest, SizesHaveUnits) {
  EXPECT_EQ(parse_size("4096"), 4096u);
  EXPECT_EQ(parse_size("64K"), 65536u);
  EXPECT_EQ(parse_size("128M"), std::uint64_t{128} << 20);
  EXPECT_EQ(parse_size("2g"), std::uint64_t{2} << 30);
  EXPECT_EQ(parse_size("1MiB"), std::uint64_t{1} << 20);
  for (const char* wrong : {"", "M", "1", "-1M", "1X", "1MX", "1.5M", "99999999999999999999",
                            "99999999999999G", " 1M", "4097"}) {
    EXPECT_EQ(parse_size(wrong), std::nullopt) << wrong;
  }
}

}  // namespace
}  // namespace vmrun
