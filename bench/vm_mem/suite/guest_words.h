// Regimes: one aligned 8-byte word after the other, at random addresses.
#ifndef BENCH_VM_MEM_SUITE_GUEST_WORDS_H_
#define BENCH_VM_MEM_SUITE_GUEST_WORDS_H_

#include <string>

#include "bench/harness/suite.h"
#include "bench/peers/vm_memory.h"

namespace vm_bench {

// Which calls of vm-memory: read_obj and write_obj, or load and store, which are atomic.
enum class PeerCalls { kObject, kAtomic };

// `tracked` on both sides.
Regime read_words(std::string name, Tracked tracked, PeerCalls calls);
Regime write_words(std::string name, Tracked tracked, PeerCalls calls);

// Where the addresses lie: in what the caches hold, or in all of both regions.
enum class Reach { kCaches, kRegions };

// Beside Unicorn: the worse of reading and writing.
Regime unicorn_words(std::string name, Reach reach);

}  // namespace vm_bench

#endif  // BENCH_VM_MEM_SUITE_GUEST_WORDS_H_
