// A suite program: regimes with names, each measured to one line.
//
//   ratio <suite>/<name> <median> (<min>-<max>) vs <peer>
//   instr <suite>/<name> <count>
//   count <suite>/<name> <count>
//   skip <suite>/<name>: <what has to be installed>
//
// A ratio is the peer's time / ours: above 1 is faster.
#ifndef BENCH_HARNESS_SUITE_H_
#define BENCH_HARNESS_SUITE_H_

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "bench/harness/contest.h"
#include "bench/harness/options.h"

namespace vm_bench {

struct Ratio {
  Outcome outcome;
  std::string peer = "libc";  // one word
  std::string remark = {};    // follows the peer on the line
};

// Both sides' times and their difference, as a remark.
std::string in_nanoseconds(const Outcome& outcome);

// What a regime is given: how hard to try, and where to say how far it is.
class Session {
 public:
  Session(std::string suite, Options options);

  const Options& options() const { return options_; }
  const Effort& effort() const { return effort_; }
  std::uint64_t seed() const { return options_.seed; }

  // Tells tools/bench what is being measured, for its progress line.
  void progress(std::string_view what) const;

  void report_ratio(std::string_view name, const Ratio& ratio);
  void report_count(std::string_view name, std::uint64_t count);
  // Of events, not of instructions.
  void report_events(std::string_view name, std::uint64_t count);
  void report_skip(std::string_view name, std::string_view missing);
  // One of the points of regime `name`: in the JSON, and printed where asked for.
  void report_point(std::string_view name, std::string_view point, const Outcome& outcome);
  // `json` is an object: what else the rows depend on, such as the policy in force.
  void report_setting(std::string_view name, std::string_view json);

  // Ends the program where not all rows could be written.
  void close();

 private:
  void write_row(std::string_view kind, std::string_view name, const std::string& members);

  std::string suite_;
  Options options_;
  Effort effort_;
  std::FILE* rows_ = nullptr;
};

struct Regime {
  std::string name;
  std::function<Ratio(Session&)> measure;  // null where events are counted
  // What its peer lacks on this machine. Unless empty, it is told and nothing measured.
  std::string missing = {};
  std::function<std::uint64_t(Session&)> events = {};
  // Instructions that are counted, not timed, and not by a tool.
  std::function<std::uint64_t(Session&)> instructions = {};
};

// A suite program's main(): measures the regimes that the command line asks for.
int run_suite(Session& session, const std::vector<Regime>& regimes);

}  // namespace vm_bench

#endif  // BENCH_HARNESS_SUITE_H_
