// What surviving host faults costs where there are none: copies to and from the guest in
// their recoverable form beside the plain one.
#ifndef BENCH_VM_MEM_SUITE_GUEST_RECOVERABLE_H_
#define BENCH_VM_MEM_SUITE_GUEST_RECOVERABLE_H_

#include <string>

#include "bench/harness/suite.h"

namespace vm_bench {

// The worst of 8 B to 1 MiB, in either direction.
Regime recoverable(std::string name);

}  // namespace vm_bench

#endif  // BENCH_VM_MEM_SUITE_GUEST_RECOVERABLE_H_
