// A row that stands for several contests, by the lowest of them.
#ifndef BENCH_HARNESS_LOWER_H_
#define BENCH_HARNESS_LOWER_H_

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "bench/harness/contest.h"
#include "bench/harness/suite.h"

namespace vm_bench {

struct NamedContest {
  std::string name;
  Contest contest;
};

using Measure = std::function<Outcome(const Contest&, const Effort&)>;

// Measures each as a point of regime `regime`. The remark names the lowest, and tells the
// others' medians. Needs: at least one contest.
Ratio lower_of(Session& session, std::string_view regime, std::string_view peer,
               const std::vector<NamedContest>& contests, const Measure& measure = compare);

}  // namespace vm_bench

#endif  // BENCH_HARNESS_LOWER_H_
