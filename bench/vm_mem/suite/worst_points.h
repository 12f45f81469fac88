// The places where a copy can be bad: one size, one place, one way to use the result.
#ifndef BENCH_VM_MEM_SUITE_WORST_POINTS_H_
#define BENCH_VM_MEM_SUITE_WORST_POINTS_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "bench/harness/copy_contest.h"

namespace vm_bench {

// Names: fixed/aligned/<bytes>, fixed/misaligned/<bytes>, page/crossing/<bytes>,
// page/end/<bytes>, load_back/<bytes or uniform range>, L2/<bytes>, L3/<bytes>,
// DRAM/<bytes>
struct Point {
  std::string name;
  std::function<Contest(Rivals rivals, std::uint64_t seed)> contest;
};

std::vector<Point> worst_points();

}  // namespace vm_bench

#endif  // BENCH_VM_MEM_SUITE_WORST_POINTS_H_
