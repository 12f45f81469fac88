#include "bench/harness/process.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>

namespace vm_bench {
namespace {

Command shell(const std::string& text) { return {.words = {"sh", "-c", text}}; }

TEST(ProcessTest, TellsWhatAProcessWroteBeforeItEnded) {
  EXPECT_EQ(run_process(shell("echo one; echo two")).output, "one\ntwo\n");
}

TEST(ProcessTest, AnswersANoticeAndEndsTheProcessAtTheEndOfTheDialogue) {
  const ProcessRun run = run_process(shell("echo ready; read line; echo got $line; read forever"),
                                     {.notice = "ready", .answer = "this\n", .end = "got this"});
  EXPECT_EQ(run.output.substr(0, 14), "ready\ngot this");
}

TEST(ProcessTest, CountsCpuTimeOfTheProcessAlone) {
  const ProcessRun busy = run_process(shell("i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done"));
  const ProcessRun idle = run_process(shell("true"));
  EXPECT_GT(busy.cpu_ns, 2 * idle.cpu_ns);
  EXPECT_GT(idle.cpu_ns, 0);
}

TEST(ProcessTest, TheEnvironmentIsTheCommands) {
  Command command = shell("echo $VM_BENCH_TEST");
  command.environment = {"VM_BENCH_TEST=there"};
  EXPECT_EQ(run_process(command).output, "there\n");
}

TEST(ProcessDeathTest, AFailureIsOneLine) {
  EXPECT_EXIT(run_process(shell("echo lost; exit 3")), testing::ExitedWithCode(1),
              "sh -c .* status 0x300 .* it wrote: lost");
  EXPECT_EXIT(run_process(shell("true"), {.notice = {}, .answer = {}, .end = "never"}),
              testing::ExitedWithCode(1), "before 'never' came");
  EXPECT_EXIT(run_process({.words = {"vm-bench-no-such-program"}}), testing::ExitedWithCode(1),
              "vm-bench-no-such-program: No such file or directory");
}

TEST(ProcessTest, RatiosAreThePeersTimeOverOurs) {
  const ProcessContest contest{
      .ours = shell("echo a"),
      .peer = shell("i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; echo b")};
  const ProcessOutcome out = compare_processes(contest, {.rounds = 3});
  EXPECT_EQ(out.outcome.ratios.size(), 3U);
  EXPECT_GT(out.cpu_ratio.median, 1);
  EXPECT_EQ(out.ours_output, "a\n");
  EXPECT_EQ(out.peer_output, "b\n");
}

TEST(ProcessTest, AScratchFileHasItsContentAndGoes) {
  std::string path;
  {
    const ScratchFile file("text", 4096);
    path = file.path();
    EXPECT_EQ(std::filesystem::file_size(path), 4096U);
    std::ostringstream content;
    content << std::ifstream(path).rdbuf();
    EXPECT_EQ(content.str().substr(0, 5), std::string("text\0", 5));
  }
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST(ProcessTest, ProgramsAreLookedForInPath) {
  EXPECT_TRUE(is_installed("sh"));
  EXPECT_FALSE(is_installed("vm-bench-no-such-program"));
}

}  // namespace
}  // namespace vm_bench
