#include "vm_mem/internal/startup.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <map>
#include <optional>
#include <string>

#include "vm_mem/host_cpu.h"
#include "vm_mem/internal/host_instructions.h"
#include "vm_mem/internal/policy_defaults.h"
#include "vm_mem/internal/policy_file.h"

namespace vm_mem::internal {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;

std::string message(const Startup& startup) { return std::string(startup.status.message()); }

// A policy file that goes with the test.
class StartupTest : public testing::Test {
 protected:
  StartupTest() : path_(testing::TempDir() + "vm_startup_" + std::to_string(getpid())) {}
  ~StartupTest() override { std::remove(path_.c_str()); }

  const std::string& policy_file(const std::string& fields) const {
    std::FILE* file = std::fopen(path_.c_str(), "w");
    if (file == nullptr) ADD_FAILURE() << path_;
    std::fputs(("vm_mem copy policy 1\n" + fields).c_str(), file);
    std::fclose(file);
    return path_;
  }

  const Startup defaults_ = decide_startup("", "");
  const std::string path_;
};

TEST_F(StartupTest, TakesTheBestRowThatThisCpuPrefers) {
  EXPECT_TRUE(defaults_.status.ok());
  EXPECT_TRUE(defaults_.row->supported());
  EXPECT_EQ(defaults_.row, &row_within(preferred_width(host_cpu())));
  EXPECT_EQ(defaults_.choice == RowChoice::kBest, defaults_.row == &row_within(kNever));
  EXPECT_EQ(defaults_.policy.vector_width, defaults_.row->vector_width);
  EXPECT_EQ(refuse_policy(defaults_.policy, {.string_copies = has_string_copy()}), std::nullopt);
}

TEST_F(StartupTest, KeepsTheBestRowWhereTheIsaIsUnknownAndSaysWhatIsAllowed) {
  const Startup startup = decide_startup("mmx", "");
  EXPECT_EQ(startup.row, defaults_.row);
  EXPECT_EQ(startup.policy, defaults_.policy);
  EXPECT_EQ(startup.choice, defaults_.choice);
  EXPECT_EQ(startup.status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(message(startup), AllOf(HasSubstr("VM_MEM_ISA=mmx"), HasSubstr("scalar")));
}

TEST_F(StartupTest, TakesAPolicyFile) {
  const Startup startup = decide_startup("", policy_file("stream_min = 123456\n"));
  EXPECT_TRUE(startup.status.ok()) << startup.status;
  EXPECT_EQ(startup.policy.stream_min, 123456u);
  EXPECT_EQ(startup.policy.inline_max, defaults_.policy.inline_max);
  EXPECT_EQ(startup.origin.file, path_);
  EXPECT_THAT(startup.origin.file_fields, testing::ElementsAre("stream_min"));
}

TEST_F(StartupTest, APolicyFileCanAskForNarrowerLanesAndGetsTheirDefaults) {
  const Startup startup = decide_startup("", policy_file("vector_width = 8\n"));
  EXPECT_TRUE(startup.status.ok()) << startup.status;
  EXPECT_EQ(startup.row, &kScalarKernels);
  EXPECT_EQ(startup.choice, RowChoice::kNarrower);
  EXPECT_EQ(startup.policy, policy_defaults(host_cpu(), 8).policy);
}

TEST_F(StartupTest, AForcedRowRefusesAPolicyFileForAnother) {
  const Startup startup = decide_startup("scalar", policy_file("\nvector_width = 16\n"));
  EXPECT_EQ(startup.row, &kScalarKernels);
  EXPECT_EQ(startup.choice, RowChoice::kForced);
  EXPECT_EQ(message(startup),
            "VM_MEM_POLICY: " + path_ +
                ":3: CopyPolicy::vector_width = 16: want 8, the width of the row scalar that "
                "VM_MEM_ISA forces");
}

TEST_F(StartupTest, RefusesAPolicyFileFromAnotherCpu) {
  const Startup startup = decide_startup("", policy_file("cpu = \"486\"\ninline_max = 3\n"));
  EXPECT_EQ(startup.policy, defaults_.policy);
  EXPECT_TRUE(startup.origin.file.empty());
  EXPECT_EQ(message(startup), "VM_MEM_POLICY: " + path_ +
                                  ":2: measured on another CPU: \"486\", and this is \"" +
                                  cpu_identity(host_cpu()) + "\"");
}

TEST_F(StartupTest, TakesWhatItWouldWriteItself) {
  const std::string text = format_policy(defaults_.policy, cpu_identity(host_cpu()));
  const Startup startup = decide_startup("", policy_file(text.substr(text.find('\n') + 1)));
  EXPECT_TRUE(startup.status.ok()) << startup.status;
  EXPECT_EQ(startup.policy, defaults_.policy);
}

TEST_F(StartupTest, KeepsTheDefaultsWhereThePolicyFileIsRefused) {
  const Startup startup = decide_startup("", policy_file("inline_max = 3\nspeed = 1\n"));
  EXPECT_EQ(startup.policy, defaults_.policy);
  EXPECT_EQ(startup.status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(message(startup), "VM_MEM_POLICY: " + path_ + ":3: unknown key \"speed\"");
}

TEST_F(StartupTest, KeepsTheDefaultsWhereThePolicyIsOutOfRange) {
  const Startup startup = decide_startup("", policy_file("inline_max = 5000\n"));
  EXPECT_EQ(startup.policy, defaults_.policy);
  EXPECT_EQ(message(startup),
            "VM_MEM_POLICY: " + path_ + ":2: CopyPolicy::inline_max = 5000: want at most 4096");
}

TEST_F(StartupTest, SaysBothThingsThatAreWrong) {
  const Startup startup = decide_startup("mmx", "/nowhere/limits");
  EXPECT_EQ(startup.row, defaults_.row);
  EXPECT_EQ(startup.policy, defaults_.policy);
  EXPECT_THAT(message(startup),
              AllOf(HasSubstr("VM_MEM_ISA=mmx"),
                    HasSubstr("VM_MEM_POLICY: /nowhere/limits: No such file or directory")));
}

// What startup_probe prints when it is run with these variables.
std::map<std::string, std::string> probe(const std::string& isa, const std::string& policy) {
  const std::string command = "VM_MEM_ISA='" + isa + "' VM_MEM_POLICY='" + policy + "' " +
                              VM_TEST_EMULATOR " '" VM_TEST_STARTUP_PROBE "'";
  std::FILE* pipe = popen(command.c_str(), "r");
  if (pipe == nullptr) return {};
  std::map<std::string, std::string> printed;
  char line[1000];
  while (std::fgets(line, sizeof line, pipe) != nullptr) {
    std::string text(line);
    text.pop_back();
    const std::size_t equals = text.find('=');
    printed[text.substr(0, equals)] = text.substr(equals + 1);
  }
  EXPECT_EQ(pclose(pipe), 0) << command;
  return printed;
}

class StartupForcedRowTest : public testing::TestWithParam<const CopyKernels*> {};

TEST_P(StartupForcedRowTest, RunsInAProcessThatAsksForIt) {
  const CopyKernels& row = *GetParam();
  auto printed = probe(std::string(row.isa), "");
  EXPECT_EQ(printed["copied"], "1");
  if (row.supported()) {
    EXPECT_EQ(printed["isa"], row.isa);
    EXPECT_EQ(printed["vector_width"], std::to_string(row.vector_width));
    EXPECT_EQ(printed["inline_limit"], "0");
    EXPECT_EQ(printed["status"], "OK");
  } else {
    EXPECT_NE(printed["isa"], row.isa);
    EXPECT_THAT(printed["status"], StartsWith("INVALID_ARGUMENT: VM_MEM_ISA="));
  }
}

INSTANTIATE_TEST_SUITE_P(PerIsa, StartupForcedRowTest,
                         testing::ValuesIn(built_copy_kernels().begin(),
                                           built_copy_kernels().end()),
                         [](const auto& row) { return std::string(row.param->isa); });

TEST_F(StartupTest, AProcessWithoutVariablesCopiesInLineOnTheBestRow) {
  auto printed = probe("", "");
  EXPECT_EQ(printed["isa"], defaults_.row->isa);
  EXPECT_EQ(printed["inline_limit"], std::to_string(defaults_.policy.inline_max));
  EXPECT_EQ(printed["status"], "OK");
}

TEST_F(StartupTest, AProcessReportsBadVariablesAndRunsOnItsDefaults) {
  auto printed = probe("mmx", policy_file("stream_min = 8192\nstream_min = 8192\n"));
  EXPECT_EQ(printed["isa"], defaults_.row->isa);
  EXPECT_EQ(printed["stream_min"], std::to_string(defaults_.policy.stream_min));
  EXPECT_EQ(printed["copied"], "1");
  EXPECT_THAT(printed["status"],
              AllOf(StartsWith("INVALID_ARGUMENT: VM_MEM_ISA=mmx"),
                    HasSubstr("; VM_MEM_POLICY: " + path_ + ":3: stream_min is given twice")));
}

}  // namespace
}  // namespace vm_mem::internal
