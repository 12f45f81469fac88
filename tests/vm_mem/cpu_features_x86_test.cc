#include <gtest/gtest.h>

#include "vm_mem/internal/cpu_features.h"

namespace vm_mem::internal {
namespace {

constexpr std::uint32_t kOsxsave = 1u << 27;
constexpr std::uint32_t kAvx = 1u << 28;
constexpr std::uint32_t kAvx2 = 1u << 5;
constexpr std::uint32_t kErms = 1u << 9;
constexpr std::uint32_t kAvx512 = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31 | 1u << 8;
constexpr X86Registers kEverything = {.leaf1_ecx = kOsxsave | kAvx,
                                      .leaf1_edx = 1u << 26,
                                      .leaf7_ebx = kAvx2 | kErms | kAvx512,
                                      .leaf7_edx = 1u << 4,
                                      .xcr0 = 0xe7};

TEST(CpuFeaturesX86Test, FindsEverythingWhereCpuAndOsHaveIt) {
  const CpuFeatures want = {.sse2 = true,
                            .avx2 = true,
                            .avx512 = true,
                            .fast_rep_movsb = true,
                            .fast_short_rep_movsb = true};
  EXPECT_EQ(decode_x86(kEverything), want);
}

TEST(CpuFeaturesX86Test, NothingIsNothing) { EXPECT_EQ(decode_x86({}), CpuFeatures{}); }

TEST(CpuFeaturesX86Test, NoAvxWhereTheOsDoesNotSaveYmm) {
  for (const std::uint64_t xcr0 : {0x0u, 0x1u, 0x3u, 0x5u, 0xe3u, 0xe5u}) {
    X86Registers registers = kEverything;
    registers.xcr0 = xcr0;
    EXPECT_FALSE(decode_x86(registers).avx2) << xcr0;
    EXPECT_FALSE(decode_x86(registers).avx512) << xcr0;
    EXPECT_TRUE(decode_x86(registers).sse2) << xcr0;
  }
}

TEST(CpuFeaturesX86Test, NoAvx512WhereTheOsDoesNotSaveMasksAndAllOfZmm) {
  for (const std::uint64_t xcr0 : {0x7u, 0x27u, 0x47u, 0x87u, 0x67u, 0xa7u, 0xc7u}) {
    X86Registers registers = kEverything;
    registers.xcr0 = xcr0;
    EXPECT_TRUE(decode_x86(registers).avx2) << xcr0;
    EXPECT_FALSE(decode_x86(registers).avx512) << xcr0;
  }
}

TEST(CpuFeaturesX86Test, IgnoresXcr0WhereXgetbvIsOff) {
  X86Registers registers = kEverything;
  registers.leaf1_ecx = kAvx;
  EXPECT_FALSE(decode_x86(registers).avx2);
  EXPECT_FALSE(decode_x86(registers).avx512);
}

TEST(CpuFeaturesX86Test, NeedsEveryOneOfTheFourAvx512BitsAndBmi2) {
  for (const int bit : {8, 16, 17, 30, 31}) {
    X86Registers registers = kEverything;
    registers.leaf7_ebx &= ~(1u << bit);
    EXPECT_TRUE(decode_x86(registers).avx2) << bit;
    EXPECT_FALSE(decode_x86(registers).avx512) << bit;
  }
}

}  // namespace
}  // namespace vm_mem::internal
