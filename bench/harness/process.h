// Whole processes as the sides of a contest: emulators that run the same guest.
#ifndef BENCH_HARNESS_PROCESS_H_
#define BENCH_HARNESS_PROCESS_H_

#include <string>
#include <string_view>
#include <vector>

#include "bench/harness/suite.h"

namespace vm_bench {

struct Command {
  std::vector<std::string> words;             // the first is looked for in PATH
  std::vector<std::string> environment = {};  // NAME=VALUE, beside what is there
};

// What happens on its standard input and output; nothing is typed where `answer` is empty.
struct Dialogue {
  std::string notice = {};  // when this has shown,
  std::string answer = {};  // this is typed
  std::string end = {};     // when this has shown, it is ended; empty: it ends by itself
};

struct ProcessRun {
  std::string output;
  double wall_ns = 0;  // to the end of the dialogue
  double cpu_ns = 0;   // of all its threads
};

// Ends this program, with a line that says what failed, where the dialogue does not come to its
// end or a process that ends by itself does so otherwise than with status 0.
ProcessRun run_process(const Command& command, const Dialogue& dialogue = {});

// Whether PATH has a program of that name.
bool is_installed(std::string_view program);

// Says so on standard error and ends this program.
[[noreturn]] void give_up(const std::string& what);

struct ProcessContest {
  Command ours;
  Command peer;
  Dialogue dialogue = {};
};

struct ProcessOutcome {
  Outcome outcome;          // of elapsed time: what a user waits for
  Summary cpu_ratio;        // the same by CPU time
  std::string remark;       // both sides' times
  std::string ours_output;  // of the last round
  std::string peer_output;
};

// Rounds of both, in alternating order, after one of each that is not timed.
ProcessOutcome compare_processes(const ProcessContest& contest, const Effort& effort);

// An empty file of that size, gone with this object.
class ScratchFile {
 public:
  explicit ScratchFile(std::string_view content, std::size_t bytes = 0);
  ~ScratchFile();
  ScratchFile(const ScratchFile&) = delete;
  ScratchFile& operator=(const ScratchFile&) = delete;

  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace vm_bench

#endif  // BENCH_HARNESS_PROCESS_H_
