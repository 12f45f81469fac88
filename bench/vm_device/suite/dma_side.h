// A device's DmaSpace on the memory of the guest suite, in each of its forms.
#ifndef BENCH_VM_DEVICE_SUITE_DMA_SIDE_H_
#define BENCH_VM_DEVICE_SUITE_DMA_SIDE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "bench/harness/page_buffer.h"
#include "bench/vm_mem/suite/guest_memory.h"
#include "vm_device/dma.h"
#include "vm_device/iommu.h"
#include "vm_mem/memory_manager.h"
#include "vm_mem/memory_reader.h"

namespace vm_bench {

// Made on a MemoryReader, as by a device with a thread of its own; on the manager, for
// any thread.
enum class Form { kReader, kManager };
enum class Bus { kDirect, kIommu };

class DmaSide {
 public:
  DmaSide(Form form, Bus bus, Tracked tracked = Tracked::kYes);

  vm_device::DmaSpace& dma() { return *dma_; }
  // Where the guest's byte lies in the host.
  std::byte* host(std::uint64_t guest);
  // Behind the IOMMU neighbouring pages are exchanged, so that each is a translation of its
  // own. It knows those of blocks that stay in the caches (hot_addresses()): ends the
  // program for others.
  std::uint64_t bus_address(std::uint64_t guest) const;

 private:
  void translate_hot_pages();

  Bus bus_;
  std::unique_ptr<vm_mem::MemoryManager> manager_;
  vm_mem::MemoryReader reader_;
  std::unique_ptr<vm_device::Iommu> iommu_;
  std::optional<vm_device::DmaSpace> dma_;
};

// A buffer of the device's.
struct DeviceBuffer {
  explicit DeviceBuffer(std::size_t n) : bytes(memory.at_least(n), n) {}

  PageBuffer memory;
  std::span<std::byte> bytes;
};

// Another content for each `seed`.
void fill_pattern(std::span<std::byte> bytes, unsigned seed);

}  // namespace vm_bench

#endif  // BENCH_VM_DEVICE_SUITE_DMA_SIDE_H_
