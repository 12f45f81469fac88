#include "vm_device/internal/ring_translations.h"

namespace vm_device::internal {
namespace {

constexpr std::uint64_t page_of(std::uint64_t iova) { return iova / 4096; }

}  // namespace

bool RingTranslations::may_use(const BusRange& range) const {
  if (buffers_ == 0) return false;
  const std::uint64_t first = page_of(range.first);
  const std::uint64_t last = page_of(range.last);
  if (long_buffers_ != 0 || last - first >= kPlaces) return true;
  for (std::uint64_t page = first; page <= last; ++page) {
    if (in_use_[page % kPlaces] != 0) return true;
  }
  return false;
}

void RingTranslations::count(const DescriptorChain& chain, std::uint32_t more) {
  for (const DmaSegment& it : chain.readable()) count(it, more);
  for (const DmaSegment& it : chain.writable()) count(it, more);
}

// Of a chain: its buffers are not empty, and do not wrap.
void RingTranslations::count(const DmaSegment& buffer, std::uint32_t more) {
  buffers_ += more;
  const std::uint64_t first = page_of(buffer.address);
  const std::uint64_t last = page_of(buffer.address + (buffer.bytes - 1));
  if (last - first >= kMostPages) {
    long_buffers_ += more;
    return;
  }
  for (std::uint64_t page = first; page <= last; ++page) in_use_[page % kPlaces] += more;
}

}  // namespace vm_device::internal
