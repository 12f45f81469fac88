// Harvests of 1 GiB: marks found, cleared and listed as runs.
#ifndef BENCH_VM_MEM_SUITE_DIRTY_HARVEST_H_
#define BENCH_VM_MEM_SUITE_DIRTY_HARVEST_H_

#include <cstdint>
#include <string>

#include "bench/harness/suite.h"

namespace vm_bench {

// How the peer's bitmap is made into runs: page by page, as its best known user does, or
// by words, as well as one can.
enum class PeerWalk : std::uint8_t { kByPage, kByWord };

// With `percent` of the pages dirty, at random.
Regime harvests(std::string name, int percent, PeerWalk walk);

}  // namespace vm_bench

#endif  // BENCH_VM_MEM_SUITE_DIRTY_HARVEST_H_
