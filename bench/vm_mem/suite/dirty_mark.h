// Marking pages that are marked already: what every store of a guest pays.
#ifndef BENCH_VM_MEM_SUITE_DIRTY_MARK_H_
#define BENCH_VM_MEM_SUITE_DIRTY_MARK_H_

#include <string>

#include "bench/harness/suite.h"

namespace vm_bench {

// The lowest of four patterns of 8-byte stores.
Regime marks(std::string name);

}  // namespace vm_bench

#endif  // BENCH_VM_MEM_SUITE_DIRTY_MARK_H_
