// A queue with its driver, and a regime: packed rings beside split ones.
#ifndef BENCH_VM_DEVICE_SUITE_DMA_RINGS_H_
#define BENCH_VM_DEVICE_SUITE_DMA_RINGS_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "bench/harness/suite.h"
#include "bench/vm_device/suite/dma_side.h"
#include "bench/vm_device/suite/ring_driver.h"
#include "vm_device/virtqueue.h"

namespace vm_bench {

template <class Driver>
struct RingQueue {
  static constexpr std::uint16_t kSize = 256;
  static constexpr std::size_t kBatch = 64;  // requests that are offered at a time

  RingQueue() {
    require(queue.enable(driver.config()) == vm_device::VirtqueueError::kNone,
            "the queue refuses the driver's rings");
  }

  // What the device does with a request; whether there was one.
  bool serve() {
    return queue.pop(chain) == vm_device::PopStatus::kChain &&
           queue.push(chain, 1) == vm_device::VirtqueueError::kNone;
  }
  // Offers a batch and calls serve_one() for each of it; ends the program where one fails.
  template <class Serve>
  void serve_batch(Serve serve_one) {
    driver.offer(kBatch);
    bool served = true;
    for (std::size_t i = 0; i < kBatch; ++i) served &= serve_one();
    require(served, "a request is missing");
  }

  DmaSide side{Form::kReader, Bus::kDirect};
  Driver driver{side, kSize};
  vm_device::Virtqueue queue{side.dma(), kSize};
  vm_device::DescriptorChain chain;
};

// Requests of three descriptors, offered and served, in a packed ring; the peer is the same
// in a split one.
Regime packed_rings(std::string name);

}  // namespace vm_bench

#endif  // BENCH_VM_DEVICE_SUITE_DMA_RINGS_H_
