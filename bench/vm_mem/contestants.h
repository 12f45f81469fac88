// Everything that the Google Benchmark programs measure side by side.
#ifndef BENCH_VM_MEM_CONTESTANTS_H_
#define BENCH_VM_MEM_CONTESTANTS_H_

#include <benchmark/benchmark.h>

#include <cstddef>
#include <string>
#include <vector>

#include "bench/harness/copy_check.h"

namespace vm_bench {

struct Contestant {
  std::string name;
  CopyFn copy;
};

// The core's entry points, each of its rows that this CPU has, libc, and what the files
// in rivals/ registered.
const std::vector<Contestant>& contestants();

// At namespace scope in rivals/: adds a contestant where the CPU has what it takes.
struct Rival {
  Rival(const char* name, CopyFn copy, bool supported);
};

// Runs `state` with an error where the copy is wrong.
bool checked(benchmark::State& state, CopyFn copy, CopyAt at);

// A benchmark program's main(), after it has registered its benchmarks.
int run_benchmarks(int argc, char** argv);

}  // namespace vm_bench

#endif  // BENCH_VM_MEM_CONTESTANTS_H_
