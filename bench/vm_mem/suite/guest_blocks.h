// Regimes: blocks of bytes between guest memory and a buffer of the host.
#ifndef BENCH_VM_MEM_SUITE_GUEST_BLOCKS_H_
#define BENCH_VM_MEM_SUITE_GUEST_BLOCKS_H_

#include <cstddef>
#include <string>

#include "bench/harness/suite.h"
#include "bench/peers/vm_memory.h"

namespace vm_bench {

// Blocks of `bytes` bytes at random multiples of 8, that stay in an L1 cache, beside
// vm-memory with dirty tracking on both sides: the worse of reading and writing.
Regime blocks(std::size_t bytes);

// The same at any address and with sizes that are no powers of two: the worst of them.
Regime odd_blocks(std::string name);

// What memcpy_raw takes for `bytes` bytes of a region, beside MemoryReader: the worse of
// reading and writing.
Regime bulk_overhead(std::string name, std::size_t bytes, Tracked tracked);

}  // namespace vm_bench

#endif  // BENCH_VM_MEM_SUITE_GUEST_BLOCKS_H_
