#include <gtest/gtest.h>

#include "vm_mem/internal/cpu_identity.h"

namespace vm_mem::internal {
namespace {

TEST(CpuIdentityAarch64Test, DecodesNeoverseN1) {
  const HostCpu cpu = decode_midr(0x413fd0c1);
  EXPECT_EQ(cpu.vendor, CpuVendor::kArm);
  EXPECT_EQ(cpu_identity(cpu), "unnamed CPU (ARM family 0x41 model 0xd0c)");
  EXPECT_EQ(cpu.stepping, 3u);
}

TEST(CpuIdentityAarch64Test, NumbersOtherImplementers) {
  EXPECT_EQ(decode_midr(0xc00fac30).vendor_name, "AArch64 implementer 0xc0");
}

}  // namespace
}  // namespace vm_mem::internal
