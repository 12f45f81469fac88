// The copy suite's regimes that copy nothing: filling, comparing, looking for zeros.
#ifndef BENCH_VM_MEM_SUITE_SCANS_H_
#define BENCH_VM_MEM_SUITE_SCANS_H_

#include "bench/harness/suite.h"

namespace vm_bench {

// memset_raw of 16, 32 and 64 MiB.
Regime large_fills(std::string name);

// is_zero of a page of zeros in the L1 cache, against the one-line memcmp(p, p + 1).
Regime zero_page(std::string name);

// Equality of equal buffers, 64 bytes to 1 MiB.
Regime equal_buffers(std::string name);

}  // namespace vm_bench

#endif  // BENCH_VM_MEM_SUITE_SCANS_H_
