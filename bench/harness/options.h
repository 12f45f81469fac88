// The command line of a suite program. tools/bench is its user; people use tools/bench.
#ifndef BENCH_HARNESS_OPTIONS_H_
#define BENCH_HARNESS_OPTIONS_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace vm_bench {

struct Options {
  bool list = false;       // print the names of the regimes, measure nothing
  bool quick = false;      // fewer rounds, shorter samples
  bool points = false;     // print every point of the regimes that have some
  bool progress = false;   // print "progress ..." lines between the results
  std::size_t rounds = 0;  // 0: the default
  std::uint64_t seed = 1;
  std::vector<std::string> only;  // empty: every regime
  std::string sizes;              // a size distribution, for the fleet regimes
  std::string rows;               // where to write one JSON object per line
};

// Ends the program: with status 2 and one line for what is wrong, 0 after --help.
Options parse_options(int argc, char** argv);

}  // namespace vm_bench

#endif  // BENCH_HARNESS_OPTIONS_H_
