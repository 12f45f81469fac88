#include "vm_mem/access.h"

#include <gtest/gtest.h>

namespace vm_mem {
namespace {

TEST(AccessTest, EveryFaultHasItsName) {
  EXPECT_EQ(access_fault_name(AccessFault::kNone), "kNone");
  EXPECT_EQ(access_fault_name(AccessFault::kUnmapped), "kUnmapped");
  EXPECT_EQ(access_fault_name(AccessFault::kReadOnly), "kReadOnly");
  EXPECT_EQ(access_fault_name(AccessFault::kProtected), "kProtected");
  EXPECT_EQ(access_fault_name(AccessFault::kDevice), "kDevice");
  EXPECT_EQ(access_fault_name(AccessFault::kHostFault), "kHostFault");
  EXPECT_EQ(access_fault_name(AccessFault::kBusy), "kBusy");
  EXPECT_EQ(access_fault_name(AccessFault::kMisaligned), "kMisaligned");
  EXPECT_EQ(access_fault_name(static_cast<AccessFault>(200)), "unknown");
}

TEST(AccessTest, AResultIsOkOnlyWithoutAFault) {
  EXPECT_TRUE(AccessResult{}.ok());
  EXPECT_FALSE(AccessResult{.fault = AccessFault::kDevice}.ok());
}

}  // namespace
}  // namespace vm_mem
