#ifndef BENCH_VM_MEM_SNAPSHOT_RESTORE_ROWS_H_
#define BENCH_VM_MEM_SNAPSHOT_RESTORE_ROWS_H_

#include <memory>

#include "bench/harness/suite.h"
#include "bench/vm_mem/snapshot/restore_files.h"

namespace vm_bench {

// Until all memory is there.
Regime eager_restore(std::shared_ptr<SharedRestoreFiles> files, const Session& session);

}  // namespace vm_bench

#endif  // BENCH_VM_MEM_SNAPSHOT_RESTORE_ROWS_H_
