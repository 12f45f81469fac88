// Contests between two copies. Each is checked against a byte compare, with every size
// that it uses, before the contest is handed out; a copy that fails ends the program.
#ifndef BENCH_HARNESS_COPY_CONTEST_H_
#define BENCH_HARNESS_COPY_CONTEST_H_

#include <cstddef>
#include <vector>

#include "bench/harness/contest.h"
#include "bench/harness/copy_loops.h"

namespace vm_bench {

struct Rivals {
  const CopyLoops* ours;
  const CopyLoops* peer;
};

// Where a copy starts, from the start of a page.
struct Placement {
  std::size_t dst = 0;
  // Half a page apart: no load is taken for one of the stores before it.
  std::size_t src = 2048;
};

// The same copy again and again.
Contest repeated(Rivals rivals, std::size_t n, Placement placement = {});

// The same for operations that are no copies but have the form of one; their user checks
// them. Both buffers are zeros.
Contest repeated_unchecked(Rivals rivals, std::size_t n, Placement placement = {});

// All of the copies, in order, as one unit of work.
Contest walked(Rivals rivals, std::vector<CopyAt> copies);

// The same, each waiting for a byte that the one before it wrote.
Contest chased(Rivals rivals, std::vector<CopyAt> copies);

// The next copies of an endless walk through more memory than the caches hold: each
// sample goes on where the last one ended, whoever took it.
Contest cold_walked(Rivals rivals, std::vector<CopyAt> copies);

}  // namespace vm_bench

#endif  // BENCH_HARNESS_COPY_CONTEST_H_
