#include "vm_mem/internal/process_barrier.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <optional>
#include <string>
#include <utility>

namespace vm_mem::internal {
namespace {

class ProcessBarrierTest : public testing::TestWithParam<BarrierForm> {
 protected:
  void SetUp() override {
    const std::array allowed = {GetParam()};
    auto made = ProcessBarrier::make(allowed);
    if (!made.ok()) GTEST_SKIP() << std::string(made.status().message());
    barrier_.emplace(*std::move(made));
  }
  std::optional<ProcessBarrier> barrier_;
};

TEST_P(ProcessBarrierTest, IsOfTheFormThatIsAllowed) { EXPECT_EQ(barrier_->form(), GetParam()); }

TEST_P(ProcessBarrierTest, RunsAgainAndAgain) {
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(barrier_->run().ok());
}

TEST_P(ProcessBarrierTest, RunsAfterItWasMoved) {
  ProcessBarrier moved = *std::move(barrier_);
  EXPECT_TRUE(moved.run().ok());
}

INSTANTIATE_TEST_SUITE_P(PerForm, ProcessBarrierTest, testing::ValuesIn(kBarrierForms),
                         [](const auto& form) {
                           return form.param == BarrierForm::kMembarrier ? "membarrier"
                                                                         : "page_protection";
                         });

TEST(ProcessBarrierMakeTest, SaysWhyEveryFormIsOut) {
  const auto none = ProcessBarrier::make({});
  EXPECT_EQ(none.status().code(), absl::StatusCode::kUnimplemented);
  EXPECT_THAT(std::string(none.status().message()), testing::HasSubstr("no barrier"));
}

}  // namespace
}  // namespace vm_mem::internal
