// The regimes of the copy suite: what is copied in each.
#ifndef BENCH_VM_MEM_SUITE_COPY_REGIMES_H_
#define BENCH_VM_MEM_SUITE_COPY_REGIMES_H_

#include <cstddef>
#include <string>
#include <vector>

#include "bench/harness/copy_contest.h"
#include "bench/harness/suite.h"

namespace vm_bench {

// Sizes drawn from --sizes, or from the fleet's distribution in bench/data.
Regime fleet(std::string name, Rivals rivals);

// Uniformly distributed sizes, unpredictable to the CPU.
Regime unpredictable(std::string name, Rivals rivals, std::size_t first, std::size_t last);

// One size again and again in the same place, and the mean over the sizes.
Regime repeated_sizes(std::string name, Rivals rivals, std::vector<std::size_t> sizes);

// Chunks of one size from all over more memory than the caches hold.
Regime cold_chunks(std::string name, Rivals rivals, std::size_t bytes);

std::vector<std::size_t> every_size(std::size_t first, std::size_t last);

// A suite's session, with the copy core's row and policy as its settings.
Session copy_session(int argc, char** argv);

}  // namespace vm_bench

#endif  // BENCH_VM_MEM_SUITE_COPY_REGIMES_H_
