// The machine, as far as a measurement depends on it.
#ifndef BENCH_HARNESS_MACHINE_H_
#define BENCH_HARNESS_MACHINE_H_

#include <cstddef>

namespace vm_bench {

// Keeps this process on the last CPU that it is allowed on. Returns that CPU, or -1.
int stay_on_one_cpu();

// After that call, in a thread that is to work beside the measured one: keeps it on the
// other CPUs. Returns false where the process was allowed on one alone.
bool leave_the_one_cpu();

// Undoes stay_on_one_cpu() for this thread and those that it starts: for work of several.
void use_all_cpus();

// Units: bytes. What the system reports, or an assumption where it reports nothing.
std::size_t l2_bytes();
std::size_t l3_bytes();

// Enough memory that a walk through it finds nothing in a cache.
std::size_t beyond_caches_bytes();

}  // namespace vm_bench

#endif  // BENCH_HARNESS_MACHINE_H_
