// A block request as the driver wrote it, read once and judged; nothing is executed here.
#ifndef VM_DEVICE_INTERNAL_BLK_REQUEST_H_
#define VM_DEVICE_INTERNAL_BLK_REQUEST_H_

#include <array>
#include <cstdint>
#include <span>

#include "vm_device/block_image.h"
#include "vm_device/dma.h"
#include "vm_device/internal/blk_layout.h"
#include "vm_device/virtqueue.h"

namespace vm_device::internal {

enum class BlkOperation : std::uint8_t {
  kRead,
  kWrite,
  kFlush,
  kIdentify,
  kDiscard,
  kWriteZeroes,
};

// Sectors of the image, in bytes.
struct BlkRange {
  std::uint64_t offset;
  std::uint64_t bytes;
  ZeroSpace space;
};

// What a request is judged by.
struct BlkRules {
  std::uint64_t image_bytes = 0;  // now: an image may have another size at the next request
  ImageAccess access = ImageAccess::kReadOnly;
  std::uint64_t features = 0;  // those that the driver has accepted
};

// Reused from request to request.
class BlkRequest {
 public:
  // Needs:  a chain with room for the status. `chain` outlives the use of data().
  // Cost:   one DMA read of the header, and one of the ranges where there are some.
  void parse(DmaSpace& dma, const DescriptorChain& chain, const BlkRules& rules);

  // Anything but kOk: the answer, and there is nothing to execute.
  BlkAnswer verdict() const { return verdict_; }
  BlkOperation operation() const { return operation_; }
  // Of kRead and kWrite: where in the image, inside it. Of kIdentify too the bytes of data.
  std::uint64_t offset() const { return offset_; }
  std::uint64_t bytes() const { return bytes_; }
  // Where in guest memory the data begins.
  SegmentCursor data() const;
  // Of kDiscard and kWriteZeroes, all of them inside the image.
  std::span<const BlkRange> ranges() const { return std::span(ranges_).first(range_count_); }

 private:
  BlkAnswer judge(DmaSpace& dma, const BlkRules& rules);
  BlkAnswer judge_data(BlkOperation operation, std::uint64_t sector, const BlkRules& rules);
  BlkAnswer judge_ranges(BlkOperation operation, DmaSpace& dma, const BlkRules& rules);

  const DescriptorChain* chain_ = nullptr;
  BlkAnswer verdict_ = BlkAnswer::kIoError;
  BlkOperation operation_ = BlkOperation::kFlush;
  std::uint64_t offset_ = 0;
  std::uint64_t bytes_ = 0;
  std::size_t range_count_ = 0;
  std::array<BlkRange, kBlkMaxDiscardRanges> ranges_;
};

}  // namespace vm_device::internal

#endif  // VM_DEVICE_INTERNAL_BLK_REQUEST_H_
