#include "tools/vmrun/report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace vmrun {
namespace {

Report example() {
  Report report{.end = "power off",
                .message = "a \"b\"\n",
                .isa = "avx2",
                .instructions = 3'000'000,
                .wall_seconds = 0.5,
                .pages_dirtied = 7,
                .iommu_faults = std::nullopt,
                .state_hash = std::nullopt,
                .jit = std::nullopt,
                .profile = std::nullopt,
                .traffic = {}};
  report.traffic.counts[1][2] = {.operations = 3, .bytes = 4096};
  return report;
}

TEST(ReportTest, JsonIsOneLineWithEveryRouteAndPath) {
  const std::string json = as_json(example());
  EXPECT_EQ(std::count(json.begin(), json.end(), '\n'), 1);
  for (const char* key :
       {R"("end": "power off")", R"("message": "a \"b\"\u000a")", R"("isa": "avx2")",
        R"("instructions": 3000000)", R"("wall_seconds": 0.500000)", R"("guest_mips": 6.000)",
        R"("pages_dirtied": 7)", R"("iommu_faults": null)",
        R"("cpu": {"inline": {"operations": 0, "bytes": 0})",
        R"("stream": {"operations": 3, "bytes": 4096})", R"("engine": )", R"("snapshot": )"}) {
    EXPECT_THAT(json, testing::HasSubstr(key));
  }
}

TEST(ReportTest, TextLeavesOutWhatDidNotHappen) {
  const std::string text = as_text(example());
  EXPECT_THAT(text, testing::HasSubstr("power off after 0.50 s"));
  EXPECT_THAT(text, testing::ContainsRegex("dma +stream +3 +4096"));
  EXPECT_THAT(text, testing::Not(testing::HasSubstr("engine")));
}

TEST(ReportTest, FaultsAreCountedWhereThereIsAnIommu) {
  Report report = example();
  EXPECT_THAT(as_text(report), testing::Not(testing::HasSubstr("iommu")));
  report.iommu_faults = 3;
  EXPECT_THAT(as_json(report), testing::HasSubstr(R"("iommu_faults": 3,)"));
  EXPECT_THAT(as_text(report), testing::ContainsRegex("iommu faults +3\n"));
}

TEST(ReportTest, TheHashIsToldWhereItWasAskedFor) {
  Report report = example();
  EXPECT_THAT(as_json(report), testing::HasSubstr(R"("state_hash": null,)"));
  EXPECT_THAT(as_text(report), testing::Not(testing::HasSubstr("hash")));
  report.state_hash = 0x2a;
  EXPECT_THAT(as_json(report), testing::HasSubstr(R"("state_hash": "000000000000002a",)"));
  EXPECT_THAT(as_text(report), testing::ContainsRegex("state hash +000000000000002a\n"));
}

TEST(ReportTest, ATranslatorIsCounted) {
  Report report = example();
  EXPECT_THAT(as_json(report), testing::HasSubstr(R"("jit": null,)"));
  JitStatistics one, other;
  one.translated = 2;
  one.interpreted = 7;
  other.translated = 3;
  one += other;
  report.jit = one;
  EXPECT_THAT(as_json(report), testing::HasSubstr(R"("translated": 5, "invalidated": 0,)"));
  EXPECT_THAT(as_json(report),
              testing::HasSubstr(R"("interpreted": 7, "cold": 0}, "profile": null, "routes")"));
  EXPECT_THAT(as_text(report), testing::ContainsRegex("jit interpreted +7\n"));
}

TEST(ReportTest, AProfileIsInSecondsAndShares) {
  Report report = example();  // of half a second
  report.profile = Profile{};
  EXPECT_THAT(as_json(report), testing::HasSubstr(R"("copies_share": 0.000000)"));
  report.profile->samples[static_cast<std::size_t>(Activity::kDma)] = 300;
  report.profile->samples[static_cast<std::size_t>(Activity::kMachine)] = 100;
  report.profile->copies = 80;
  EXPECT_THAT(as_json(report),
              testing::HasSubstr(
                  R"("samples": 400, "copies_share": 0.200000, "copies_error": 0.020000, )"));
  EXPECT_THAT(as_json(report), testing::HasSubstr(R"("dma": 0.375000)"));
  EXPECT_THAT(as_text(report), testing::ContainsRegex("time dma +0.38 s +75.0 %\n"));
  EXPECT_THAT(as_text(report), testing::ContainsRegex("in copies +20.0 % \\(\\+- 2.0\\)\n"));
}

TEST(ReportTest, NoTimeIsNoSpeed) { EXPECT_EQ(Report{}.guest_mips(), 0); }

}  // namespace
}  // namespace vmrun
