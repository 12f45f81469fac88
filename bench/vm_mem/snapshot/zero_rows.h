#ifndef BENCH_VM_MEM_SNAPSHOT_ZERO_ROWS_H_
#define BENCH_VM_MEM_SNAPSHOT_ZERO_ROWS_H_

#include <string>

#include "bench/harness/suite.h"

namespace vm_bench {

enum class PagesAre : std::uint8_t { kInL1, kInMemory };

// Whether pages of zeros are zero, as a save asks, beside memcmp(p, p + 1).
Regime zero_scan(std::string name, PagesAre where);

}  // namespace vm_bench

#endif  // BENCH_VM_MEM_SNAPSHOT_ZERO_ROWS_H_
