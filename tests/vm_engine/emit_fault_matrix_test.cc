// What emitted code leaves behind wherever it faults, held to a loop over bytes.
#include <gtest/gtest.h>

#include <cstdlib>

#include "tests/support/fault_matrix.h"

namespace {

using vm_test::fault_matrix_forms;
using vm_test::FaultMatrixForms;
using vm_test::FaultMatrixScore;
using vm_test::LandingPads;

// Of so many cases one: VM_TEST_THINNING, where code runs slowly. tools/bench runs more.
std::uint64_t thinning() {
  const char* const told = std::getenv("VM_TEST_THINNING");
  return told == nullptr ? 7 : std::strtoull(told, nullptr, 10);
}

class EmitFaultMatrixTest : public testing::TestWithParam<FaultMatrixForms> {};

INSTANTIATE_TEST_SUITE_P(PerForm, EmitFaultMatrixTest, testing::ValuesIn(fault_matrix_forms()),
                         [](const auto& forms) {
                           return std::string(vm_test::fault_matrix_name(forms.param));
                         });

TEST_P(EmitFaultMatrixTest, EveryFaultLeavesWhatALoopOverBytesWould) {
  const FaultMatrixScore score = run_fault_matrix(GetParam(), thinning());
  EXPECT_EQ(score.wrong, 0u) << score.first_wrong;
  EXPECT_GT(score.cases, 300'000 / thinning());
  RecordProperty("cases", std::to_string(score.cases));
}

// The control: the matrix sees copies that begin again after they have overwritten what they
// read.
TEST(EmitFaultMatrixControlTest, OneLandingPadForAllStoresWouldCorruptCopies) {
  const FaultMatrixScore broken = run_overlap_matrix(LandingPads::kOneForAll, thinning());
  EXPECT_GT(broken.wrong, broken.cases / 50);
  RecordProperty("cases", std::to_string(broken.cases));
  RecordProperty("wrong", std::to_string(broken.wrong));
}

}  // namespace
