// What a queue asks before it takes a request whose bus addresses somebody else translates.
#ifndef VM_DEVICE_INTERNAL_BUS_TRANSLATIONS_H_
#define VM_DEVICE_INTERNAL_BUS_TRANSLATIONS_H_

#include <cstdint>

#include "vm_device/descriptor_chain.h"
#include "vm_device/dma_segment.h"

namespace vm_device::internal {

class BusTranslations {
 public:
  // Of a request that is waited for. One that is too much for the translations that can be kept
  // would be asked for without end.
  static constexpr std::uint64_t kMostBytes = std::uint64_t{64} << 20;

  // Whether DMA to the range has its answer: it is translated, or was refused. False: somebody
  // was asked, and the queue is to be looked at again.
  virtual bool settled(DmaSegment range, DmaAccess access) = 0;
  // A request was taken: its buffers are in use until it is given back, or the queue is reset.
  virtual void hold(const DescriptorChain& chain) = 0;
  virtual void release(const DescriptorChain& chain) = 0;

 protected:
  ~BusTranslations() = default;
};

}  // namespace vm_device::internal

#endif  // VM_DEVICE_INTERNAL_BUS_TRANSLATIONS_H_
