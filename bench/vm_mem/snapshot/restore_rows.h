#ifndef BENCH_VM_MEM_SNAPSHOT_RESTORE_ROWS_H_
#define BENCH_VM_MEM_SNAPSHOT_RESTORE_ROWS_H_

#include <vector>

#include "bench/harness/suite.h"

namespace vm_bench {

// Rows of restores: until a working set is usable, and until all memory is there.
std::vector<Regime> restores(const Session& session);

}  // namespace vm_bench

#endif  // BENCH_VM_MEM_SNAPSHOT_RESTORE_ROWS_H_
