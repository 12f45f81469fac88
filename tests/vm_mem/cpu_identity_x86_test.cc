#include <gtest/gtest.h>

#include <map>
#include <utility>

#include "vm_mem/internal/cpu_identity.h"

namespace vm_mem::internal {
namespace {

// The CPUID of a made-up CPU. Leaves that are not listed give zeros.
using Leaves = std::map<std::pair<std::uint32_t, std::uint32_t>, CpuidLeaf>;

HostCpu decode(const Leaves& leaves) {
  const auto read = [&leaves](std::uint32_t leaf, std::uint32_t subleaf) {
    const auto found = leaves.find({leaf, subleaf});
    return found == leaves.end() ? CpuidLeaf{} : found->second;
  };
  return decode_x86_cpu(read, 0xe7);
}

constexpr CpuidLeaf kIntelVendor = {
    .eax = 0x20, .ebx = 0x756e6547, .ecx = 0x6c65746e, .edx = 0x49656e69};
constexpr CpuidLeaf kAmdVendor = {
    .eax = 0x10, .ebx = 0x68747541, .ecx = 0x444d4163, .edx = 0x69746e65};
constexpr CpuidLeaf kFastStrings = {.ebx = 1u << 9, .edx = 1u << 4};

// What a Zen 5 reports.
const Leaves kZen5 = {
    {{0, 0}, kAmdVendor},
    {{1, 0}, {.eax = 0x00b00f21}},
    {{7, 0}, kFastStrings},
    {{0x80000000, 0}, {.eax = 0x80000028}},
    {{0x80000001, 0}, {.ecx = 1u << 22}},
    {{0x80000002, 0}, {.eax = 0x20444d41, .ebx = 0x43595045}},  // "AMD EPYC"
    {{0x8000001d, 0}, {.eax = 0x121, .ebx = 0x2c0003f, .ecx = 0x3f}},
    {{0x8000001d, 1}, {.eax = 0x122, .ebx = 0x1c0003f, .ecx = 0x3f}},
    {{0x8000001d, 2}, {.eax = 0x143, .ebx = 0x3c0003f, .ecx = 0x3ff}},
    {{0x8000001d, 3}, {.eax = 0x163, .ebx = 0x3c0003f, .ecx = 0x7fff}},
};

TEST(CpuIdentityX86Test, DecodesZen5) {
  const HostCpu cpu = decode(kZen5);
  EXPECT_EQ(cpu.vendor, CpuVendor::kAmd);
  EXPECT_EQ(cpu_identity(cpu), "AMD EPYC (AuthenticAMD family 0x1a model 0x2)");
  EXPECT_EQ(cpu.stepping, 1u);
  EXPECT_TRUE(cpu.fast_rep_movsb);
  EXPECT_TRUE(cpu.fast_short_rep_movsb);
  EXPECT_EQ(cpu.saved_state, 0xe7u);
  EXPECT_EQ(cpu.caches, (CacheSizes{.l1d = 48 << 10, .l2 = 1 << 20, .l3 = 32 << 20, .line = 64}));
}

TEST(CpuIdentityX86Test, DecodesSkylakeServerFromLeaf4) {
  const HostCpu cpu = decode({
      {{0, 0}, kIntelVendor},
      {{1, 0}, {.eax = 0x00050654}},
      {{7, 0}, {.ebx = 1u << 9}},
      {{4, 0}, {.eax = 0x1c004121, .ebx = 0x01c0003f, .ecx = 0x3f}},
      {{4, 1}, {.eax = 0x1c004122, .ebx = 0x01c0003f, .ecx = 0x3f}},
      {{4, 2}, {.eax = 0x1c004143, .ebx = 0x03c0003f, .ecx = 0x3ff}},
      {{4, 3}, {.eax = 0x1c03c163, .ebx = 0x0280003f, .ecx = 0x9fff}},
  });
  EXPECT_EQ(cpu.vendor, CpuVendor::kIntel);
  EXPECT_EQ(cpu.family, 6u);
  EXPECT_EQ(cpu.model, 0x55u);
  EXPECT_EQ(cpu.stepping, 4u);
  EXPECT_TRUE(cpu.fast_rep_movsb);
  EXPECT_FALSE(cpu.fast_short_rep_movsb);
  EXPECT_EQ(cpu.caches, (CacheSizes{.l1d = 32 << 10, .l2 = 1 << 20, .l3 = 28835840, .line = 64}));
}

TEST(CpuIdentityX86Test, DecodesZen2) {
  Leaves leaves = kZen5;
  leaves[{1, 0}] = {.eax = 0x00830f10};
  leaves.erase({7, 0});
  const HostCpu cpu = decode(leaves);
  EXPECT_EQ(cpu.family, 0x17u);
  EXPECT_EQ(cpu.model, 0x31u);
  EXPECT_FALSE(cpu.fast_rep_movsb);
}

TEST(CpuIdentityX86Test, TakesTheOldLeavesOfAmdWithoutTopologyExtensions) {
  Leaves leaves = kZen5;
  leaves.erase({0x80000001, 0});
  leaves[{0x80000005, 0}] = {.ecx = 0x300c0140};
  leaves[{0x80000006, 0}] = {.ecx = 0x4008140, .edx = 0x1009140};
  EXPECT_EQ(decode(leaves).caches,
            (CacheSizes{.l1d = 48 << 10, .l2 = 1 << 20, .l3 = 32 << 20, .line = 64}));
}

TEST(CpuIdentityX86Test, KnowsNoCachesWithoutLeaf4) {
  CpuidLeaf vendor = kIntelVendor;
  vendor.eax = 3;
  const HostCpu cpu = decode({{{0, 0}, vendor}, {{1, 0}, {.eax = 0x6f0}}, {{7, 0}, kFastStrings}});
  EXPECT_EQ(cpu.caches, CacheSizes{});
  EXPECT_FALSE(cpu.fast_rep_movsb) << "leaf 7 is beyond what this CPU has";
  EXPECT_TRUE(cpu.brand.empty());
}

TEST(CpuIdentityX86Test, CallsAnUnknownVendorOther) {
  const HostCpu cpu = decode(
      {{{0, 0},
        {.eax = 1, .ebx = 0x746e6543, .ecx = 0x736c7561, .edx = 0x48727561}}});  // "CentaurHauls"
  EXPECT_EQ(cpu.vendor, CpuVendor::kOther);
  EXPECT_EQ(cpu.vendor_name, "CentaurHauls");
}

TEST(CpuIdentityX86Test, NothingIsNothing) {
  const HostCpu cpu = decode({});
  EXPECT_EQ(cpu.family, 0u);
  EXPECT_EQ(cpu.caches, CacheSizes{});
}

}  // namespace
}  // namespace vm_mem::internal
