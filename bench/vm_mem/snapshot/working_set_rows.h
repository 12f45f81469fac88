#ifndef BENCH_VM_MEM_SNAPSHOT_WORKING_SET_ROWS_H_
#define BENCH_VM_MEM_SNAPSHOT_WORKING_SET_ROWS_H_

#include <memory>
#include <vector>

#include "bench/harness/suite.h"
#include "bench/vm_mem/snapshot/restore_files.h"

namespace vm_bench {

// Until a working set was used, a read and a write of each page.
std::vector<Regime> working_sets(const std::shared_ptr<SharedRestoreFiles>& files,
                                 const Session& session);

}  // namespace vm_bench

#endif  // BENCH_VM_MEM_SNAPSHOT_WORKING_SET_ROWS_H_
