// The two ways in which a virtqueue reaches its rings, for parametrised tests.
#ifndef TESTS_VM_DEVICE_RING_PATH_H_
#define TESTS_VM_DEVICE_RING_PATH_H_

#include <string>

#include "tests/vm_device/guest.h"
#include "vm_device/dma.h"
#include "vm_mem/memory_reader.h"

namespace vm_device {

enum class RingPath { kDma, kDirect };

inline DmaSpace dma_by(RingPath path, Guest& guest, vm_mem::MemoryReader& reader) {
  return path == RingPath::kDma ? DmaSpace(*guest.memory) : DmaSpace(reader);
}

inline std::string ring_path_name(const testing::TestParamInfo<RingPath>& info) {
  return info.param == RingPath::kDma ? "dma" : "direct";
}

}  // namespace vm_device

#endif  // TESTS_VM_DEVICE_RING_PATH_H_
