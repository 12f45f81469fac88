#include "vm_mem/internal/cpu_features.h"

#include <gtest/gtest.h>

#include <fstream>
#include <initializer_list>
#include <iterator>
#include <set>
#include <sstream>
#include <string>

#include "vm_mem/simd_memcpy.h"

namespace vm_mem::internal {
namespace {

// The words of the first line of /proc/cpuinfo that begins with `key`.
std::set<std::string> cpuinfo_words(const std::string& key) {
  std::ifstream cpuinfo("/proc/cpuinfo");
  for (std::string line; std::getline(cpuinfo, line);) {
    if (line.rfind(key, 0) != 0) continue;
    std::istringstream words(line.substr(line.find(':') + 1));
    return {std::istream_iterator<std::string>(words), {}};
  }
  return {};
}

bool has_all(const std::set<std::string>& words, std::initializer_list<const char*> wanted) {
  for (const char* word : wanted) {
    if (words.count(word) == 0) return false;
  }
  return true;
}

TEST(CpuFeaturesTest, AgreesWithWhatTheKernelLists) {
  if (has_neon()) {
    const auto features = cpuinfo_words("Features");
    if (features.empty()) GTEST_SKIP() << "an emulator that shows its host's /proc/cpuinfo";
    EXPECT_TRUE(has_all(features, {"asimd"}));
    EXPECT_EQ(has_sve(), has_all(features, {"sve"}));
    return;
  }
  const auto flags = cpuinfo_words("flags");
  ASSERT_FALSE(flags.empty());
  EXPECT_EQ(has_sse2(), has_all(flags, {"sse2"}));
  EXPECT_EQ(has_avx2(), has_all(flags, {"avx2"}));
  EXPECT_EQ(has_avx512(), has_all(flags, {"avx512f", "avx512bw", "avx512dq", "avx512vl"}));
  EXPECT_EQ(cpu_features().fast_rep_movsb, has_all(flags, {"erms"}));
  EXPECT_EQ(cpu_features().fast_short_rep_movsb, has_all(flags, {"fsrm"}));
}

TEST(CpuFeaturesTest, AnswersTheSameFromCacheAndFromTheCpu) {
  EXPECT_EQ(cpu_features(), detect_cpu_features());
  EXPECT_EQ(cpu_features(), cpu_features());
}

}  // namespace
}  // namespace vm_mem::internal
