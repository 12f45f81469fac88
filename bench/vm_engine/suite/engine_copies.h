// vme_copy through the soft TLB beside the copy core that it ends in.
#ifndef BENCH_VM_ENGINE_SUITE_ENGINE_COPIES_H_
#define BENCH_VM_ENGINE_SUITE_ENGINE_COPIES_H_

#include <cstddef>
#include <string>

#include "bench/harness/suite.h"

namespace vm_bench {

// Whether the pages of source and destination can be in the TLB at a time, or push each other
// out to the entries of victims.
enum class TlbEntries { kApart, kShared };

// Copies of `bytes` between two regions, each within a page where it fits in one.
Regime engine_copy(std::string name, std::size_t bytes, TlbEntries entries = TlbEntries::kApart);

}  // namespace vm_bench

#endif  // BENCH_VM_ENGINE_SUITE_ENGINE_COPIES_H_
