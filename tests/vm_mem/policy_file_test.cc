#include "vm_mem/internal/policy_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <string>

namespace vm_mem::internal {
namespace {

const std::string kHeader = "vm_mem copy policy 1\n";
const CopyPolicy kDefaults = {.inline_max = 64, .vector_width = 16, .stream_min = 1 << 22};

std::string refusal(const std::string& text) {
  const auto policy = parse_policy(text, "limits", kDefaults);
  EXPECT_FALSE(policy.ok()) << text;
  if (policy.ok()) return "accepted";
  EXPECT_EQ(policy.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(policy.status().message());
}

TEST(PolicyFileTest, ReadsEveryField) {
  const auto policy = parse_policy(kHeader +
                                       "# measured\n\n inline_max=1 \nvector_width = 2\r\n"
                                       "stream_min = 3\nrep_movsb_min = 4\nrep_movsb_max\t=\t5",
                                   "limits", kDefaults);
  ASSERT_TRUE(policy.ok()) << policy.status();
  EXPECT_EQ(*policy, (CopyPolicy{1, 2, 3, 4, 5}));
}

TEST(PolicyFileTest, KeepsDefaultsOfFieldsThatAreLeftOut) {
  const auto policy = parse_policy(kHeader + "stream_min = 8192\n", "limits", kDefaults);
  ASSERT_TRUE(policy.ok()) << policy.status();
  CopyPolicy want = kDefaults;
  want.stream_min = 8192;
  EXPECT_EQ(*policy, want);
}

TEST(PolicyFileTest, NamesFileLineAndReason) {
  EXPECT_EQ(refusal(kHeader + "\nspeed = 9\n"), "limits:3: unknown key \"speed\"");
  EXPECT_EQ(refusal(kHeader + "stream_min 9\n"), "limits:2: want key = value");
  EXPECT_EQ(refusal(kHeader + "inline_max = 1\ninline_max = 1\n"),
            "limits:3: inline_max is given twice");
}

TEST(PolicyFileTest, RefusesWhatIsNotANumberOfBytes) {
  for (const char* value : {"", "-1", "1k", "0x10", "1 2", "99999999999999999999999", "1.5"}) {
    EXPECT_EQ(refusal(kHeader + "stream_min = " + value + "\n"),
              "limits:2: stream_min = \"" + std::string(value) + "\" is not a number of bytes");
  }
}

TEST(PolicyFileTest, RefusesAFileWithoutTheHeaderLine) {
  EXPECT_EQ(refusal(""), "limits:0: empty; want \"vm_mem copy policy 1\"");
  EXPECT_EQ(refusal("inline_max = 1\n"),
            "limits:1: the first line is not \"vm_mem copy policy 1\"");
  EXPECT_EQ(refusal("vm_mem copy policy 2\n"),
            "limits:1: the first line is not \"vm_mem copy policy 1\"");
}

// A file that goes with the test.
class PolicyPathTest : public testing::Test {
 protected:
  PolicyPathTest() : path_(testing::TempDir() + "vm_policy_" + std::to_string(getpid())) {}
  ~PolicyPathTest() override { std::remove(path_.c_str()); }

  void write(const std::string& text) const {
    std::FILE* file = std::fopen(path_.c_str(), "w");
    ASSERT_NE(file, nullptr);
    std::fwrite(text.data(), 1, text.size(), file);
    std::fclose(file);
  }
  std::string message() const {
    const auto policy = read_policy_file(path_, kDefaults);
    return policy.ok() ? "accepted" : std::string(policy.status().message());
  }

  const std::string path_;
};

TEST_F(PolicyPathTest, ReadsAFile) {
  write(kHeader + "inline_max = 7\n");
  const auto policy = read_policy_file(path_, kDefaults);
  ASSERT_TRUE(policy.ok()) << policy.status();
  EXPECT_EQ(policy->inline_max, 7u);
}

TEST_F(PolicyPathTest, NamesTheFileInARefusal) {
  write("nonsense\n");
  EXPECT_EQ(message(), path_ + ":1: the first line is not \"vm_mem copy policy 1\"");
}

TEST_F(PolicyPathTest, SaysWhyAFileCannotBeRead) {
  EXPECT_EQ(message(), path_ + ": No such file or directory");
}

TEST_F(PolicyPathTest, RefusesAPipeWithoutWaitingForIt) {
  ASSERT_EQ(mkfifo(path_.c_str(), 0600), 0);
  EXPECT_EQ(message(), path_ + ": not a regular file");
}

TEST_F(PolicyPathTest, RefusesAnEndlessFile) {
  write(kHeader + std::string(70'000, '#'));
  EXPECT_EQ(message(), path_ + ": longer than 64 KiB");
}

}  // namespace
}  // namespace vm_mem::internal
