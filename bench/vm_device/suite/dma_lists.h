// Regimes: lists of segments beside rust-vmm's vm-memory, which has none: its user moves
// one segment after the other.
#ifndef BENCH_VM_DEVICE_SUITE_DMA_LISTS_H_
#define BENCH_VM_DEVICE_SUITE_DMA_LISTS_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "bench/harness/suite.h"
#include "bench/vm_device/suite/dma_side.h"

namespace vm_bench {

inline constexpr std::size_t kListLength = 256;

// `lists` lists, one after the other, of segments of `bytes` bytes: any multiples of that
// in both regions, none of them twice in a list.
std::vector<vm_device::DmaSegment> random_segments(std::size_t lists, std::size_t bytes,
                                                   std::uint64_t seed);

// With dirty tracking on both sides: the worse of reading and writing.
Regime dma_lists(std::string name, std::size_t bytes, Form form);

}  // namespace vm_bench

#endif  // BENCH_VM_DEVICE_SUITE_DMA_LISTS_H_
