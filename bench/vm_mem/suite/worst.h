// The worst row: the one point where a copy does worst against libc.
#ifndef BENCH_VM_MEM_SUITE_WORST_H_
#define BENCH_VM_MEM_SUITE_WORST_H_

#include <string>

#include "bench/harness/copy_loops.h"
#include "bench/harness/suite.h"

namespace vm_bench {

// The lowest of many medians is low by chance alone, so libc is put through the same
// against itself, in `again`, another instance of the same loops.
Regime worst(std::string name, const CopyLoops& ours, const CopyLoops& libc,
             const CopyLoops& again);

}  // namespace vm_bench

#endif  // BENCH_VM_MEM_SUITE_WORST_H_
