// What is told of the rounds of a comparison: median, extremes, and how sure the
// median is.
#ifndef BENCH_HARNESS_STATISTICS_H_
#define BENCH_HARNESS_STATISTICS_H_

#include <span>
#include <vector>

namespace vm_bench {

struct Summary {
  double median = 0;
  double min = 0;
  double max = 0;
  // The 95 % interval of the median, from the order of the values alone.
  double low = 0;
  double high = 0;
};

// Needs: at least one value.
Summary summarize(std::vector<double> values);

double geometric_mean(std::span<const double> values);

}  // namespace vm_bench

#endif  // BENCH_HARNESS_STATISTICS_H_
