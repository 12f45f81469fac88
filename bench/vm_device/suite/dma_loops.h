// What is done to guest memory in the loops of the dma suite (walk() of
// bench/vm_mem/suite/guest_loops.h): step() returns whether it succeeded.
#ifndef BENCH_VM_DEVICE_SUITE_DMA_LOOPS_H_
#define BENCH_VM_DEVICE_SUITE_DMA_LOOPS_H_

#include <cstddef>
#include <cstdint>
#include <span>

#include "bench/vm_mem/suite/guest_loops.h"
#include "vm_device/dma.h"
#include "vm_mem/simd_memcpy.h"

namespace vm_bench {

using DmaList = std::span<const vm_device::DmaSegment>;

struct DmaRead {
  bool step(vm_device::DmaSpace& dma, std::uint64_t at) { return dma.read(at, to).ok(); }
  bool step(vm_device::DmaSpace& dma, DmaList list) { return dma.read(list, to).ok(); }
  std::span<std::byte> to;
};

struct DmaWrite {
  bool step(vm_device::DmaSpace& dma, std::uint64_t at) { return dma.write(at, from).ok(); }
  bool step(vm_device::DmaSpace& dma, DmaList list) { return dma.write(list, from).ok(); }
  std::span<const std::byte> from;
};

struct NoDma {
  bool step(vm_device::DmaSpace&, std::uint64_t at) {
    forget(at);
    return true;
  }
  std::span<const std::byte> buffer;
};

// The core, which knows no guest: its addresses are the host's.
struct Host {};

struct CopyOut {
  bool step(const Host&, const std::byte* at) {
    vm_mem::memcpy_raw(to.data(), at, to.size());
    return true;
  }
  std::span<std::byte> to;
};

struct CopyIn {
  bool step(const Host&, std::byte* at) {
    vm_mem::memcpy_raw(at, from.data(), from.size());
    return true;
  }
  std::span<const std::byte> from;
};

}  // namespace vm_bench

#endif  // BENCH_VM_DEVICE_SUITE_DMA_LOOPS_H_
