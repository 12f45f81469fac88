#include "bench/harness/statistics.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

namespace vm_bench {

Summary summarize(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t count = values.size();
  // The number of values below the true median is binomial(count, 1/2).
  const double half_width = 0.98 * std::sqrt(static_cast<double>(count));
  const double middle = static_cast<double>(count - 1) / 2;
  const auto low = static_cast<std::size_t>(std::max(0.0, std::floor(middle - half_width)));
  const double median = (values[(count - 1) / 2] + values[count / 2]) / 2;
  return {median, values.front(), values.back(), values[low], values[count - 1 - low]};
}

double geometric_mean(std::span<const double> values) {
  double logs = 0;
  for (const double value : values) logs += std::log(value);
  return std::exp(logs / static_cast<double>(values.size()));
}

}  // namespace vm_bench
