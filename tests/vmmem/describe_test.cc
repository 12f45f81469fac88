#include "tools/vmmem/describe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "vm_mem/simd_memcpy.h"

namespace vmmem {
namespace {

using testing::HasSubstr;

Description made_up() {
  Description made;
  made.cpu.vendor_name = "Maker";
  made.cpu.brand = "Fast One";
  made.features = "AVX2, ERMS";
  made.cpu.saved_state = 0x7;
  made.cpu.caches = {.l1d = 32 << 10, .l2 = 1 << 20, .l3 = 0, .line = 64};
  made.machine.pools = {{.page_bytes = 2 << 20, .pages = 7, .free_pages = 3}};
  made.rows = vm_mem::copy_rows();
  made.row = "avx2";
  made.policy.vector_width = 32;
  made.policy.stream_min = 8192;
  made.policy.rep_movsb_max = vm_mem::kNever;
  made.origin = {.defaults = "fast CPUs", .file = "my.policy", .file_fields = {"stream_min"}};
  return made;
}

TEST(DescribeTest, SaysWhyTheRowIsInUse) {
  Description made = made_up();
  EXPECT_EQ(why(made), "the best that this machine supports");
  made.choice = vm_mem::RowChoice::kForced;
  EXPECT_EQ(why(made), "forced by VM_MEM_ISA");
  made.choice = vm_mem::RowChoice::kNarrower;
  EXPECT_EQ(why(made), "kept at 256 bits by the policy (default for fast CPUs)");
}

TEST(DescribeTest, SaysWhereEachLimitIsFrom) {
  const Description made = made_up();
  EXPECT_EQ(source_of("stream_min", made.origin), "my.policy");
  EXPECT_EQ(source_of("inline_max", made.origin), "default for fast CPUs");
  const std::string text = describe_text(made);
  EXPECT_THAT(text, HasSubstr("  stream_min               8K   my.policy\n"));
  EXPECT_THAT(text, HasSubstr("  rep_movsb_max          none   default for fast CPUs\n"));
}

TEST(DescribeTest, ShowsCpuSystemAndCaches) {
  const std::string text = describe_text(made_up());
  EXPECT_THAT(text, HasSubstr("Fast One (Maker family 0x0 model 0x0)\n"));
  EXPECT_THAT(text, HasSubstr("features           AVX2, ERMS\n"));
  EXPECT_THAT(text, HasSubstr("OS saves           SSE, YMM\n"));
  EXPECT_THAT(text, HasSubstr("L1d 32K, L2 1M, L3 unknown, lines of 64 bytes\n"));
  EXPECT_THAT(text, HasSubstr("pools: 2M: 3 of 7 free\n"));
  EXPECT_THAT(text, testing::Not(HasSubstr("warning")));
}

TEST(DescribeTest, ShowsWhatWasWrongAtTheStart) {
  Description made = made_up();
  made.startup = absl::InvalidArgumentError("VM_MEM_ISA=mmx");
  EXPECT_THAT(describe_text(made), HasSubstr("warning            VM_MEM_ISA=mmx\n"));
  EXPECT_THAT(describe_json(made), HasSubstr("\"warning\": \"VM_MEM_ISA=mmx\""));
}

TEST(DescribeTest, ThisMachineHasTheRowThatIsInUse) {
  const Description here = describe();
  EXPECT_EQ(here.row, vm_mem::active_isa());
  EXPECT_THAT(describe_text(here), HasSubstr("row in use         " + here.row + ": "));
}

}  // namespace
}  // namespace vmmem
