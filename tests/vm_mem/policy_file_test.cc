#include "vm_mem/internal/policy_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <string>
#include <string_view>

namespace vm_mem::internal {
namespace {

const std::string kHeader = "vm_mem copy policy 1\n";
constexpr std::string_view kThisCpu = "Fast One (Maker family 0x1 model 0x2)";
constexpr CopyPolicy kDefaults = {.inline_max = 64, .vector_width = 16, .stream_min = 1 << 22};

absl::StatusOr<PolicyText> parse(const std::string& text) {
  return parse_policy(text, "limits", kThisCpu);
}

std::string refusal(const std::string& text) {
  const auto policy = parse(text);
  EXPECT_FALSE(policy.ok()) << text;
  if (policy.ok()) return "accepted";
  EXPECT_EQ(policy.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(policy.status().message());
}

TEST(PolicyFileTest, ReadsEveryField) {
  const auto text = parse(kHeader +
                          "# measured\n\n inline_max=1 \nvector_width = 2\r\nalign_loads_max= 9\n"
                          "prefetch_min=3\nstream_pages =8\n"
                          "stream_min = 4\nstream_hint_min =5\nrep_movsb_min = 6\n"
                          "rep_movsb_hot_min = never\nrep_movsb_max\t=\t8\n");
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_EQ(text->over(kDefaults), (CopyPolicy{1, 2, 9, 3, 4, 5, 8, 6, kNever, 8}));
}

TEST(PolicyFileTest, RefusesALineThatWasCut) {
  const auto text = parse(kHeader + "stream_min = 41943");
  EXPECT_EQ(text.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(text.status().message().find(":2: the line has no end"), absl::string_view::npos)
      << text.status();
}

TEST(PolicyFileTest, KeepsDefaultsOfFieldsThatAreLeftOut) {
  const auto text = parse(kHeader + "stream_min = 8192\n");
  ASSERT_TRUE(text.ok()) << text.status();
  CopyPolicy want = kDefaults;
  want.stream_min = 8192;
  EXPECT_EQ(text->over(kDefaults), want);
}

TEST(PolicyFileTest, KnowsTheLineOfEachField) {
  const auto text = parse(kHeader + "\nstream_min = 8192\n\ninline_max = 1\n");
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_EQ(text->line(&CopyPolicy::stream_min), 3);
  EXPECT_EQ(text->line(&CopyPolicy::inline_max), 5);
  EXPECT_EQ(text->line(&CopyPolicy::prefetch_min), 5);
}

TEST(PolicyFileTest, WritesWhatItReads) {
  const CopyPolicy policy = {1, 2, 9, 3, 4, kNever, 8, 6, 7, kNever};
  const std::string written = format_policy(policy, kThisCpu);
  const auto text = parse(written);
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_EQ(text->over(kDefaults), policy);
  EXPECT_EQ(format_policy(text->over(kDefaults), kThisCpu), written);
}

TEST(PolicyFileTest, TakesAFileForThisCpuAndRefusesAnothersNamingBoth) {
  const std::string ours = "cpu = \"" + std::string(kThisCpu) + "\"\n";
  EXPECT_TRUE(parse(kHeader + ours).ok());
  EXPECT_EQ(refusal(kHeader + "cpu = \"Slow One\"\n"),
            "limits:2: measured on another CPU: \"Slow One\", and this is \"" +
                std::string(kThisCpu) + "\"");
  EXPECT_EQ(refusal(kHeader + ours + ours), "limits:3: cpu is given twice");
  EXPECT_EQ(refusal(kHeader + "cpu = Slow One\n"), "limits:2: cpu: want a name in double quotes");
  EXPECT_EQ(refusal(kHeader + "cpu = \"\n"), "limits:2: cpu: want a name in double quotes");
}

TEST(PolicyFileTest, NamesFileLineAndReason) {
  EXPECT_EQ(refusal(kHeader + "\nspeed = 9\n"), "limits:3: unknown key \"speed\"");
  EXPECT_EQ(refusal(kHeader + "stream_min 9\n"), "limits:2: want key = value");
  EXPECT_EQ(refusal(kHeader + "inline_max = 1\ninline_max = 1\n"),
            "limits:3: inline_max is given twice");
}

TEST(PolicyFileTest, RefusesWhatIsNotANumberOfBytes) {
  for (const char* value :
       {"", "-1", "1k", "0x10", "1 2", "99999999999999999999999", "1.5", "Never"}) {
    EXPECT_EQ(refusal(kHeader + "stream_min = " + value + "\n"),
              "limits:2: stream_min = \"" + std::string(value) + "\" is neither a number nor never");
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
    const auto policy = read_policy_file(path_, kThisCpu);
    return policy.ok() ? "accepted" : std::string(policy.status().message());
  }

  const std::string path_;
};

TEST_F(PolicyPathTest, ReadsAFile) {
  write(kHeader + "inline_max = 7\n");
  const auto policy = read_policy_file(path_, kThisCpu);
  ASSERT_TRUE(policy.ok()) << policy.status();
  EXPECT_EQ(policy->value(&CopyPolicy::inline_max), 7u);
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
