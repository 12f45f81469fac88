// Regimes: one segment between guest memory and a buffer of the device's.
#ifndef BENCH_VM_DEVICE_SUITE_DMA_BLOCKS_H_
#define BENCH_VM_DEVICE_SUITE_DMA_BLOCKS_H_

#include <cstddef>
#include <string>

#include "bench/harness/suite.h"
#include "bench/vm_device/suite/dma_side.h"

namespace vm_bench {

enum class Direction { kRead, kWrite };

// What memcpy_raw takes for `bytes` bytes, beside DmaSpace: blocks of up to 4 KiB that stay
// in an L1 cache, aligned to their size; a larger one again and again in one place.
Regime dma_block(std::string name, Direction direction, std::size_t bytes, Form form);

// The same blocks without an IOMMU, beside those behind one whose translations this thread
// has in mind: the worse of reading and writing.
Regime dma_behind_iommu(std::string name, std::size_t bytes, Form form);

}  // namespace vm_bench

#endif  // BENCH_VM_DEVICE_SUITE_DMA_BLOCKS_H_
