#ifndef BENCH_VM_MEM_SNAPSHOT_SAVE_ROWS_H_
#define BENCH_VM_MEM_SNAPSHOT_SAVE_ROWS_H_

#include <vector>

#include "bench/harness/suite.h"

namespace vm_bench {

// Rows of full saves and of an incremental one.
std::vector<Regime> saves(const Session& session);

}  // namespace vm_bench

#endif  // BENCH_VM_MEM_SNAPSHOT_SAVE_ROWS_H_
