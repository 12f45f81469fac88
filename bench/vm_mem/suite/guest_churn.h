// A regime: accesses while another thread changes the map.
#ifndef BENCH_VM_MEM_SUITE_GUEST_CHURN_H_
#define BENCH_VM_MEM_SUITE_GUEST_CHURN_H_

#include <string>

#include "bench/harness/suite.h"

namespace vm_bench {

// Random words, read and written, while regions come and go 1000 times a second, beside
// the same while they do not: the worse of reading and writing.
Regime churn(std::string name);

}  // namespace vm_bench

#endif  // BENCH_VM_MEM_SUITE_GUEST_CHURN_H_
