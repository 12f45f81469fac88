// `vmmem bench`: a table of sizes, each row of the core beside libc.
#ifndef VMMEM_BENCH_H_
#define VMMEM_BENCH_H_

#include <chrono>
#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include "tools/vmmem/measure.h"
#include "vm_mem/copy_rows.h"

namespace vmmem {

struct BenchPlan {
  std::vector<vm_mem::CopyRow> rows;
  std::vector<std::size_t> sizes;
  std::chrono::milliseconds time{0};
};

struct BenchLine {
  std::size_t bytes = 0;
  double libc_nanoseconds = 0;
  std::vector<Spread> ratios;  // libc's time over ours, by contender
};

struct BenchTable {
  std::vector<std::string> contenders;  // memcpy_raw, then the rows
  std::vector<BenchLine> lines;
};

// Where no sizes are asked for.
std::vector<std::size_t> default_sizes();

BenchTable bench(const BenchPlan& plan, const std::function<void(double)>& on_progress);

std::string bench_text(const BenchTable& table);
std::string bench_json(const BenchTable& table);

}  // namespace vmmem

#endif  // VMMEM_BENCH_H_
