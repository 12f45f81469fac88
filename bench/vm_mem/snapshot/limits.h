// How much the rows of this suite take.
#ifndef BENCH_VM_MEM_SNAPSHOT_LIMITS_H_
#define BENCH_VM_MEM_SNAPSHOT_LIMITS_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "bench/harness/suite.h"

namespace vm_bench {

// --quick: too small for a figure.
std::uint64_t guest_bytes(const Session& session);
std::size_t rounds_of(const Session& session, std::size_t usual);

// What this host lacks for them; empty where nothing.
std::string host_missing(const Session& session);
// For rows of files that are not in the page cache.
std::string cold_files_missing();

}  // namespace vm_bench

#endif  // BENCH_VM_MEM_SNAPSHOT_LIMITS_H_
