// Sizes of copies as programs make them: a file that says how often each occurs.
#ifndef BENCH_HARNESS_SIZE_DISTRIBUTION_H_
#define BENCH_HARNESS_SIZE_DISTRIBUTION_H_

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace vm_bench {

struct SizeShare {
  std::size_t bytes = 0;
  double share = 0;
};

inline constexpr std::size_t kLargestSize = std::size_t{16} << 20;

// The format of google/fleetbench: the first line is BYTES:SHARE pairs with commas
// between, which sum to about 1. Lines that follow (fleetbench's shares of overlapping
// calls and of alignments) are not looked at.
//
// Errors:  kInvalidArgument "<name>:<line>: what was read and what is allowed"; also
//          where the file cannot be read.
absl::StatusOr<std::vector<SizeShare>> parse_sizes(std::string_view text, std::string_view name);
absl::StatusOr<std::vector<SizeShare>> read_sizes(const std::string& path);

}  // namespace vm_bench

#endif  // BENCH_HARNESS_SIZE_DISTRIBUTION_H_
