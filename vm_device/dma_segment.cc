#include "vm_device/dma_segment.h"

#include <algorithm>

namespace vm_device {

DmaSegment SegmentCursor::peek(std::uint64_t limit) {
  while (!list_.empty() && offset_ == list_.front().bytes) {
    list_ = list_.subspan(1);
    offset_ = 0;
  }
  if (list_.empty()) return {};
  const DmaSegment& segment = list_.front();
  return {segment.address + offset_, std::min(limit, segment.bytes - offset_)};
}

void SegmentCursor::skip(std::uint64_t bytes) {
  while (bytes > 0) {
    const std::uint64_t step = peek(bytes).bytes;
    if (step == 0) return;
    offset_ += step;
    bytes -= step;
  }
}

}  // namespace vm_device
