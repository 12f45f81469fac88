// A program that does one of its works a given number of times, for a tool that counts
// instructions; tools/bench is its user and does the sums.
#ifndef BENCH_HARNESS_COUNTED_WORKS_H_
#define BENCH_HARNESS_COUNTED_WORKS_H_

#include <cstdint>
#include <functional>
#include <span>
#include <string>

namespace vm_bench {

struct CountedWork {
  std::string name;  // <row>/<part>
  std::function<void(std::uint64_t count)> run;
};

// main():  --list prints the names; <work> <count> does one. Anything else: 2 and one line.
int run_counted_works(std::span<const CountedWork> works, int argc, char** argv);

}  // namespace vm_bench

#endif  // BENCH_HARNESS_COUNTED_WORKS_H_
