#include "vm_mem/internal/policy_defaults.h"

#include <gtest/gtest.h>

#include <optional>

#include "vm_mem/internal/copy_kernels.h"
#include "vm_mem/internal/policy_rules.h"

namespace vm_mem::internal {
namespace {

constexpr std::size_t kKiB = 1024;
constexpr CacheSizes kCaches = {
    .l1d = 32 * kKiB, .l2 = 1024 * kKiB, .l3 = 32 * 1024 * kKiB, .line = 64};

HostCpu cpu(CpuVendor vendor, unsigned family, unsigned model) {
  HostCpu made;
  made.vendor = vendor;
  made.family = family;
  made.model = model;
  made.caches = kCaches;
  return made;
}

HostCpu with_erms(HostCpu made) {
  made.fast_rep_movsb = true;
  return made;
}
HostCpu with_fsrm(HostCpu made) {
  made.fast_rep_movsb = made.fast_short_rep_movsb = true;
  return made;
}

const HostCpu kSkylakeServer = with_erms(cpu(CpuVendor::kIntel, 6, 0x55));
const HostCpu kSapphireRapids = with_fsrm(cpu(CpuVendor::kIntel, 6, 0x8f));
const HostCpu kOldIntel = cpu(CpuVendor::kIntel, 6, 0x2d);
const HostCpu kZen2 = cpu(CpuVendor::kAmd, 0x17, 0x31);
const HostCpu kZen4 = with_fsrm(cpu(CpuVendor::kAmd, 0x19, 0x11));
const HostCpu kZen5 = with_fsrm(cpu(CpuVendor::kAmd, 0x1a, 0x02));
const HostCpu kStranger = with_erms(cpu(CpuVendor::kOther, 7, 0x3b));
const HostCpu kArm = cpu(CpuVendor::kArm, 0x41, 0xd0c);

CopyPolicy defaults(const HostCpu& made, std::size_t vector_width) {
  return policy_defaults(made, vector_width).policy;
}

TEST(PolicyDefaultsTest, EachCpuHasItsEntry) {
  EXPECT_EQ(policy_defaults(kSkylakeServer, 32).name, "Intel with ERMS, 256-bit");
  EXPECT_EQ(policy_defaults(kSkylakeServer, 64).name, "x86-64 with AVX-512");
  EXPECT_EQ(policy_defaults(kSapphireRapids, 64).name, "x86-64 with AVX-512");
  EXPECT_EQ(policy_defaults(kSapphireRapids, 16).name, "Intel with ERMS, 128-bit");
  EXPECT_EQ(policy_defaults(kOldIntel, 16).name, "x86-64");
  EXPECT_EQ(policy_defaults(kZen2, 32).name, "x86-64");
  EXPECT_EQ(policy_defaults(kZen4, 64).name, "AMD Zen 3 and Zen 4");
  EXPECT_EQ(policy_defaults(kZen5, 64).name, "AMD Zen 5 and later");
  EXPECT_EQ(policy_defaults(kZen5, 32).name, "AMD Zen 5 and later");
  EXPECT_EQ(policy_defaults(kZen5, 16).name, "AMD Zen 5 and later, 128-bit");
  EXPECT_EQ(policy_defaults(kStranger, 32).name, "x86-64");
  EXPECT_EQ(policy_defaults(kArm, 16).name, "any CPU");
  EXPECT_EQ(policy_defaults(kZen5, 8).name, "any CPU");
}

TEST(PolicyDefaultsTest, Zen5CopiesWithStringInstructionsAndStreamsFromHalfOfL3) {
  const CopyPolicy policy = defaults(kZen5, 64);
  EXPECT_LT(policy.rep_movsb_min, kCaches.l1d);
  EXPECT_EQ(policy.rep_movsb_hot_min, kCaches.l1d / 2);
  EXPECT_EQ(policy.rep_movsb_max, kNever);
  EXPECT_EQ(policy.stream_min, kCaches.l3 / 2);
  EXPECT_LT(policy.stream_hint_min, kCaches.l2);
  EXPECT_EQ(policy.stream_pages, 1u);
  EXPECT_GT(policy.align_loads_max, 0u);
  EXPECT_EQ(policy.prefetch_min, kNever);
}

TEST(PolicyDefaultsTest, Zen4DoesSoFromTheSizeOfL2) {
  EXPECT_EQ(defaults(kZen4, 64).rep_movsb_min, kCaches.l2);
}

TEST(PolicyDefaultsTest, IntelWithAvx512PrefetchesAndStreams) {
  const CopyPolicy policy = defaults(kSapphireRapids, 64);
  EXPECT_EQ(policy.prefetch_min, 4 * kKiB);
  EXPECT_EQ(policy.stream_min, 4096 * kKiB);
  EXPECT_EQ(policy.stream_hint_min, 64 * kKiB);
  EXPECT_EQ(policy.rep_movsb_min, kNever);
}

TEST(PolicyDefaultsTest, IntelWithoutAvx512CopiesWithStringInstructionsUntilItStreams) {
  EXPECT_EQ(defaults(kSapphireRapids, 32).rep_movsb_min, 4 * kKiB);
  EXPECT_EQ(defaults(kSapphireRapids, 16).rep_movsb_min, 2 * kKiB);
  EXPECT_EQ(defaults(kSapphireRapids, 32).rep_movsb_max, 4096 * kKiB);
  EXPECT_EQ(defaults(kOldIntel, 16).rep_movsb_min, kNever);
}

TEST(PolicyDefaultsTest, StreamsFromTwiceL2WhereThatIsMore) {
  HostCpu large = kSapphireRapids;
  large.caches.l2 = 3 * 1024 * kKiB;
  EXPECT_EQ(defaults(large, 64).stream_min, 6 * 1024 * kKiB);
}

TEST(PolicyDefaultsTest, ThrottlingPartsKeep256Bits) {
  EXPECT_EQ(preferred_width(kSkylakeServer), 32u);
  EXPECT_EQ(preferred_width(cpu(CpuVendor::kIntel, 6, 0x7e)), 32u);
  EXPECT_EQ(preferred_width(kSapphireRapids), kNever);
  EXPECT_EQ(preferred_width(cpu(CpuVendor::kAmd, 6, 0x55)), kNever);
  EXPECT_EQ(preferred_width(cpu(CpuVendor::kIntel, 15, 0x55)), kNever);
}

TEST(PolicyDefaultsTest, AreValidForEveryCpuRowAndCache) {
  for (HostCpu made : {kSkylakeServer, kSapphireRapids, kOldIntel, kZen2, kZen4, kZen5, kStranger,
                       kArm, HostCpu{}}) {
    for (const CacheSizes& caches : {kCaches, CacheSizes{}}) {
      made.caches = caches;
      for (const CopyKernels* row : built_copy_kernels()) {
        if (&row_within(row->vector_width) != row) continue;
        const auto refusal = refuse_policy(defaults(made, row->vector_width),
                                           {.string_copies = made.fast_rep_movsb});
        EXPECT_EQ(refusal, std::nullopt) << row->isa << ": " << refusal->reason;
      }
    }
  }
}

}  // namespace
}  // namespace vm_mem::internal
