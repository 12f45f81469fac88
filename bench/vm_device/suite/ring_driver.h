// The driver's side of a virtqueue, as quick as it can be: it looks at nothing that the
// device says and fills its descriptors anew for each request. Its rings are in the guest's
// memory from kHotOffset on.
#ifndef BENCH_VM_DEVICE_SUITE_RING_DRIVER_H_
#define BENCH_VM_DEVICE_SUITE_RING_DRIVER_H_

#include <cstddef>
#include <cstdint>

#include "bench/vm_device/suite/dma_side.h"
#include "vm_device/virtqueue.h"

namespace vm_bench {

// A request: a header for the device to read, a page, and a status for it to write.
inline constexpr std::size_t kChainLength = 3;

class SplitDriver {
 public:
  // Needs:  `size` a power of two.
  SplitDriver(DmaSide& side, std::uint16_t size);

  vm_device::VirtqueueConfig config() const;
  // So many that the device may have them at once.
  std::size_t most_requests() const { return size_ / kChainLength; }
  // Needs:  requests <= most_requests(), and the device has pushed those before.
  void offer(std::size_t requests);

 private:
  std::uint16_t size_;
  std::byte* descriptors_;
  std::byte* available_;
  std::uint16_t next_ = 0;
};

class PackedDriver {
 public:
  PackedDriver(DmaSide& side, std::uint16_t size);

  // As those of SplitDriver.
  vm_device::VirtqueueConfig config() const;
  std::size_t most_requests() const { return size_ / kChainLength; }
  void offer(std::size_t requests);

 private:
  std::uint16_t size_;
  std::byte* ring_;
  std::size_t next_ = 0;
  std::uint16_t turn_;  // the flag of what is available, in this lap
};

}  // namespace vm_bench

#endif  // BENCH_VM_DEVICE_SUITE_RING_DRIVER_H_
