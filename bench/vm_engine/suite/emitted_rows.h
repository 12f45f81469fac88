// The rows of code that is emitted and run.
#ifndef BENCH_VM_ENGINE_SUITE_EMITTED_ROWS_H_
#define BENCH_VM_ENGINE_SUITE_EMITTED_ROWS_H_

#include <vector>

#include "bench/harness/suite.h"

namespace vm_bench {

// None where this CPU is not one that the benchmark has a loop for.
void add_emitted_rows(std::vector<Regime>& rows);

}  // namespace vm_bench

#endif  // BENCH_VM_ENGINE_SUITE_EMITTED_ROWS_H_
