#include "tools/vmmem/policy_output.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "vm_mem/copy_policy.h"

namespace vmmem {
namespace {

class PolicyOutputTest : public testing::Test {
 protected:
  PolicyOutputTest() { std::filesystem::create_directories(folder_); }
  ~PolicyOutputTest() override { std::filesystem::remove_all(folder_); }

  void put(const std::string& text) const { std::ofstream(path_) << text; }
  std::string content() const {
    std::ifstream file(path_);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  std::ptrdiff_t files() const {
    return std::distance(std::filesystem::directory_iterator(folder_), {});
  }

  const std::string folder_ = testing::TempDir() + "vm_output_" + std::to_string(getpid());
  const std::string path_ = folder_ + "/my.policy";
  const std::string text_ = std::string(vm_mem::kCopyPolicyHeader) + "\ninline_max = 1\n";
};

TEST_F(PolicyOutputTest, WritesAFileAndNothingBesideIt) {
  ASSERT_TRUE(write_policy_file(path_, text_).ok());
  EXPECT_EQ(content(), text_);
  EXPECT_EQ(files(), 1);
}

TEST_F(PolicyOutputTest, ReplacesAPolicyFileOrAnEmptyOne) {
  put("");
  ASSERT_TRUE(write_policy_file(path_, text_).ok());
  ASSERT_TRUE(write_policy_file(path_, text_ + "#\n").ok());
  EXPECT_EQ(content(), text_ + "#\n");
  EXPECT_EQ(files(), 1);
}

TEST_F(PolicyOutputTest, ReplacesNothingElse) {
  put("a diary\n");
  const absl::Status status = write_policy_file(path_, text_);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(status.message(), path_ + ": exists and is no policy file; not overwritten");
  EXPECT_EQ(content(), "a diary\n");
  EXPECT_EQ(check_replaceable(folder_).code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(PolicyOutputTest, SaysWhatTheHostSaid) {
  const absl::Status status = write_policy_file(folder_ + "/no/such", text_);
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(status.message(), folder_ + "/no/such: No such file or directory");
}

}  // namespace
}  // namespace vmmem
