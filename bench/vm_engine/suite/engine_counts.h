// Rows that count: instructions of emitted AArch64 code, and translations that went stale.
#ifndef BENCH_VM_ENGINE_SUITE_ENGINE_COUNTS_H_
#define BENCH_VM_ENGINE_SUITE_ENGINE_COUNTS_H_

#include <string>

#include "bench/harness/suite.h"
#include "tests/support/translation_race.h"

namespace vm_bench {

// Of a load of 8 bytes that hits in the soft TLB, the access included. Emitted on any host;
// every instruction of the ISA is 4 bytes.
Regime softtlb_hit_a64(std::string name);

// Of emitted accesses that faulted, those that left anything else behind than a loop over bytes
// does; how many were tried; and of a core whose faults all go to one landing pad.
Regime wrong_after_faults(std::string name);
Regime tried_faults(std::string name);
Regime wrong_after_faults_control(std::string name);

// Of translations beside a vCPU that stores to the code, a copy of its, and the host.
Regime stale_translations(std::string name, vm_test::TranslationOrder order);

}  // namespace vm_bench

#endif  // BENCH_VM_ENGINE_SUITE_ENGINE_COUNTS_H_
