#include "vm_engine/vm_engine.h"

#include <gtest/gtest.h>

#include "tests/vm_engine/vm_engine_c.h"

namespace {

TEST(VmEngineTest, ServesAProgramInC) {
  EXPECT_EQ(vm_test_c_program(), 0) << "the line of vm_engine_c.c that failed";
}

}  // namespace
