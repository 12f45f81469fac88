// The two ways in which a virtqueue reaches its rings, for parametrised tests, and what they
// have in common.
#ifndef TESTS_VM_DEVICE_RING_PATH_H_
#define TESTS_VM_DEVICE_RING_PATH_H_

#include <string>

#include "tests/vm_device/guest.h"
#include "vm_device/dma.h"
#include "vm_device/virtqueue.h"
#include "vm_mem/memory_reader.h"

namespace vm_device {

enum class RingPath { kDma, kDirect };

inline DmaSpace dma_by(RingPath path, Guest& guest, vm_mem::MemoryReader& reader) {
  return path == RingPath::kDma ? DmaSpace(*guest.memory) : DmaSpace(reader);
}

inline std::string ring_path_name(const testing::TestParamInfo<RingPath>& info) {
  return info.param == RingPath::kDma ? "dma" : "direct";
}

struct QueueOnPath {
  QueueOnPath(RingPath path, std::uint16_t max_size)
      : reader(*guest.memory, vm_mem::Route::kDma),
        dma(dma_by(path, guest, reader)),
        queue(dma, max_size) {}

  // Pops a chain and expects it to stop the queue for good.
  void expect_error(VirtqueueError error) {
    EXPECT_EQ(queue.pop(chain), PopStatus::kError);
    EXPECT_EQ(queue.error(), error) << virtqueue_error_name(queue.error());
    EXPECT_EQ(queue.pop(chain), PopStatus::kError);
    EXPECT_EQ(queue.push(chain, 0), error);
    EXPECT_FALSE(queue.wants_interrupt());
    EXPECT_FALSE(queue.resume_notifications());
  }

  Guest guest;
  vm_mem::MemoryReader reader;
  DmaSpace dma;
  Virtqueue queue;
  DescriptorChain chain;
};

}  // namespace vm_device

#endif  // TESTS_VM_DEVICE_RING_PATH_H_
