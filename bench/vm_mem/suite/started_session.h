#ifndef BENCH_VM_MEM_SUITE_STARTED_SESSION_H_
#define BENCH_VM_MEM_SUITE_STARTED_SESSION_H_

#include <string>

#include "bench/harness/suite.h"

namespace vm_bench {

// A session over the core. Ends the program where the environment asks for a row or a
// policy that there is not.
Session started_session(std::string suite, int argc, char** argv);

}  // namespace vm_bench

#endif  // BENCH_VM_MEM_SUITE_STARTED_SESSION_H_
