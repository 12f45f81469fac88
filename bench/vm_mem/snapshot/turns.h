// Several sides that take turns, by the wall: what they wait for is the disk.
#ifndef BENCH_VM_MEM_SNAPSHOT_TURNS_H_
#define BENCH_VM_MEM_SNAPSHOT_TURNS_H_

#include <chrono>
#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "bench/harness/suite.h"

namespace vm_bench {

struct Side {
  std::string name;
  std::string peer;                // whose way it is; the first side is ours
  std::function<double()> sample;  // prepares, and returns the ns of the rest
};

struct Turns {
  std::string name;
  std::string peer;
  std::vector<double> ns;  // by round
};

// In each round every side once, in alternating order. Of several sides of one peer only the
// fastest of the first round goes on.
std::vector<Turns> take_turns(std::span<const Side> sides, std::size_t rounds);

// The first side, and those of `peer`.
std::vector<Turns> of_two(std::span<const Turns> turns, const std::string& peer);

// The first side beside the fastest of those that went on to the end.
Ratio beside_the_best(std::span<const Turns> turns, std::string peer);

template <typename Work>
double wall_ns_of(Work work) {
  const auto begin = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - begin).count();
}

}  // namespace vm_bench

#endif  // BENCH_VM_MEM_SNAPSHOT_TURNS_H_
