#include "vm_mem/copy_policy.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <string>
#include <vector>

#include "vm_mem/copy_rows.h"
#include "vm_mem/host_cpu.h"
#include "vm_mem/internal/copy_path.h"
#include "vm_mem/internal/host_instructions.h"
#include "vm_mem/internal/policy_rules.h"
#include "vm_mem/simd_memcpy.h"

namespace vm_mem {
namespace {

using testing::Message;

// Restores the policy that the test found.
class CopyPolicyTest : public testing::Test {
 protected:
  void TearDown() override { EXPECT_TRUE(set_copy_policy(found_).ok()); }

  void expect_refused(const CopyPolicy& policy, const std::string& field,
                      const std::string& value) const {
    const absl::Status status = set_copy_policy(policy);
    const std::string message(status.message());
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << field;
    EXPECT_NE(message.find(field), std::string::npos) << message;
    EXPECT_NE(message.find(value), std::string::npos) << message;
    EXPECT_EQ(copy_policy(), found_);
  }

  const CopyPolicy found_ = copy_policy();
};

TEST_F(CopyPolicyTest, DefaultsAreValidAndNameTheRowsWidth) {
  EXPECT_TRUE(set_copy_policy(found_).ok());
  EXPECT_EQ(found_.vector_width, internal::active_kernels().vector_width);
  EXPECT_GT(found_.stream_min, found_.inline_max);
}

TEST_F(CopyPolicyTest, RefusesAnInlineLimitAbove4096) {
  CopyPolicy policy = found_;
  policy.inline_max = 4097;
  expect_refused(policy, "inline_max", "4097");
}

TEST_F(CopyPolicyTest, RefusesAStreamLimitBelow4096) {
  CopyPolicy policy = found_;
  policy.stream_min = 4095;
  expect_refused(policy, "stream_min", "4095");
}

TEST_F(CopyPolicyTest, RefusesAStreamLimitThatDoesNotExceedTheInlineLimit) {
  CopyPolicy policy = found_;
  policy.inline_max = 4096;
  policy.stream_min = 4096;
  expect_refused(policy, "stream_min", "more than inline_max, 4096");
}

TEST_F(CopyPolicyTest, RefusesTheWidthOfAnotherRow) {
  CopyPolicy policy = found_;
  policy.vector_width = 128;
  expect_refused(policy, "vector_width", "128");
}

TEST_F(CopyPolicyTest, RefusesStringCopiesWhereTheCpuHasNone) {
  if (internal::has_string_copy()) GTEST_SKIP() << "this CPU has them";
  CopyPolicy policy = found_;
  policy.rep_movsb_min = 100;
  policy.rep_movsb_max = 100;
  expect_refused(policy, "rep_movsb_min", "100");
}

TEST_F(CopyPolicyTest, NamesTheWidthsThatThereAre) {
  CopyPolicy policy = found_;
  policy.vector_width = 0;
  expect_refused(policy, "vector_width", "8 (scalar)");
}

TEST_F(CopyPolicyTest, RefusesLimitsBelowWhatAPathCosts) {
  for (const CopyPolicyField& field : copy_policy_fields()) {
    if (!field.name.ends_with("_min")) continue;
    CopyPolicy policy = found_;
    policy.*field.member = 63;
    expect_refused(policy, std::string(field.name), "63: want at least ");
  }
}

TEST_F(CopyPolicyTest, RefusesAnyOtherNumberOfPages) {
  for (const std::size_t pages : {0u, 2u, 9u}) {
    CopyPolicy policy = found_;
    policy.stream_pages = pages;
    expect_refused(policy, "stream_pages", std::to_string(pages) + ": want 1 or 8");
  }
}

TEST_F(CopyPolicyTest, RefusesARangeOfStringCopiesThatEndsBeforeItBegins) {
  if (!internal::has_string_copy()) GTEST_SKIP() << "this CPU has no fast rep movsb";
  CopyPolicy policy = found_;
  policy.rep_movsb_min = 8192;
  policy.rep_movsb_max = 4096;
  expect_refused(policy, "rep_movsb_min", "at most rep_movsb_max, 4096, or never");
}

TEST_F(CopyPolicyTest, AcceptsNeverForEveryPath) {
  CopyPolicy policy = found_;
  policy.prefetch_min = policy.stream_min = policy.stream_hint_min = kNever;
  policy.rep_movsb_min = policy.rep_movsb_hot_min = kNever;
  policy.rep_movsb_max = 0;
  EXPECT_TRUE(set_copy_policy(policy).ok());
}

TEST_F(CopyPolicyTest, AnotherWidthSwitchesTheRowAndBack) {
  for (const CopyRow& row : copy_rows()) {
    const auto policy = default_copy_policy(row.vector_width);
    if (!row.supported) continue;
    ASSERT_TRUE(policy.ok()) << policy.status();
    ASSERT_TRUE(set_copy_policy(*policy).ok());
    EXPECT_EQ(active_isa(), internal::row_within(row.vector_width).isa);
    EXPECT_EQ(copy_policy().vector_width, row.vector_width);
  }
  ASSERT_TRUE(set_copy_policy(found_).ok());
  EXPECT_EQ(internal::active_kernels().vector_width, found_.vector_width);
}

TEST_F(CopyPolicyTest, PublishesEveryLimit) {
  CopyPolicy policy = found_;
  policy.prefetch_min = 5000;
  policy.stream_min = 6000;
  policy.stream_hint_min = 7000;
  policy.rep_movsb_hot_min = 8000;
  ASSERT_TRUE(set_copy_policy(policy).ok());
  const internal::CopyState& state = internal::copy_state();
  EXPECT_EQ(state.prefetch_min, 5000u);
  EXPECT_EQ(state.stream_min, 6000u);
  EXPECT_EQ(state.stream_hint_min, 7000u);
  EXPECT_EQ(state.rep_movsb_min, policy.rep_movsb_min);
  EXPECT_EQ(state.rep_movsb_hot_min, std::max<std::size_t>(8000, policy.rep_movsb_min));
  EXPECT_EQ(state.rep_movsb_max, policy.rep_movsb_max);
}

TEST_F(CopyPolicyTest, DefaultsAreThoseFoundAtTheStart) {
  if (!copy_policy_origin().file.empty()) GTEST_SKIP() << "VM_MEM_POLICY is set";
  EXPECT_EQ(default_copy_policy(), found_);
  EXPECT_FALSE(copy_policy_origin().defaults.empty());
  EXPECT_EQ(default_copy_policy(7).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(CopyPolicyTextTest, NamesThisCpu) {
  const std::string text = copy_policy_text(default_copy_policy());
  EXPECT_EQ(text.rfind(std::string(kCopyPolicyHeader) + "\n", 0), 0u);
  EXPECT_NE(text.find(cpu_identity(host_cpu())), std::string::npos);
}

TEST_F(CopyPolicyTest, TakesEffectAndLeavesOldReferencesAsTheyWere) {
  const CopyPolicy& before = copy_policy();
  CopyPolicy policy = found_;
  policy.stream_min = 8192;
  ASSERT_TRUE(set_copy_policy(policy).ok());
  EXPECT_EQ(copy_policy(), policy);
  EXPECT_EQ(before, found_);
  EXPECT_EQ(internal::copy_path(8192), CopyPath::kStream);
  EXPECT_EQ(internal::copy_path(8191), CopyPath::kVector);
}

void expect_copies(std::size_t n) {
  std::vector<std::byte> src(n);
  for (std::size_t i = 0; i < n; ++i) src[i] = static_cast<std::byte>(i % 239);
  std::vector<std::byte> dst(n + 2);
  memcpy_adaptive(std::span(dst).subspan(1, n), src);
  EXPECT_TRUE(std::equal(src.begin(), src.end(), dst.begin() + 1)) << n;
  EXPECT_EQ(dst.front(), std::byte{0});
  EXPECT_EQ(dst.back(), std::byte{0});
}

TEST_F(CopyPolicyTest, EveryInlineLimitCopiesEveryLength) {
  for (const std::size_t limit : {0u, 1u, 16u, 64u, 100u, 4096u}) {
    CopyPolicy policy = found_;
    policy.inline_max = limit;
    policy.stream_min = 5000;
    ASSERT_TRUE(set_copy_policy(policy).ok());
    for (std::size_t n = 0; n < 6000; n += n < 300 ? 1 : 97) expect_copies(n);
  }
}

TEST_F(CopyPolicyTest, StringCopiesCopyEveryLength) {
  if (!internal::has_string_copy()) GTEST_SKIP() << "this CPU has no fast rep movsb";
  CopyPolicy policy = found_;
  policy.inline_max = 0;
  policy.rep_movsb_min = 65;
  policy.rep_movsb_max = 2000;
  ASSERT_TRUE(set_copy_policy(policy).ok());
  for (std::size_t n = 0; n < 2100; ++n) expect_copies(n);
}

}  // namespace
}  // namespace vm_mem
