#include "vm_device/internal/blk_request.h"

#include "vm_device/internal/virtio_layout.h"

namespace vm_device::internal {
namespace {

bool holds(std::uint64_t image_bytes, std::uint64_t sector, std::uint64_t bytes) {
  const std::uint64_t capacity = image_bytes / kSectorBytes;
  return bytes % kSectorBytes == 0 && sector <= capacity &&
         bytes / kSectorBytes <= capacity - sector;
}

// What a driver may put into one request of this kind.
struct RangeLimits {
  std::uint64_t feature;
  std::uint32_t ranges;
  std::uint32_t sectors;
  std::uint32_t flags;
};

constexpr RangeLimits limits_of(BlkOperation operation) {
  if (operation == BlkOperation::kDiscard) {
    return {kBlkFeatureDiscard, kBlkMaxDiscardRanges, kBlkMaxDiscardSectors, 0};
  }
  return {kBlkFeatureWriteZeroes, kBlkMaxZeroRanges, kBlkMaxZeroSectors, kBlkRangeUnmap};
}

std::uint32_t range_flags(const std::byte* from) {
  return get_little_endian<std::uint32_t>(from + 12);
}

BlkAnswer judge_range(const std::byte* from, const RangeLimits& limits, std::uint64_t image_bytes,
                      BlkRange& range) {
  const auto sector = get_little_endian<std::uint64_t>(from);
  const auto sectors = get_little_endian<std::uint32_t>(from + 8);
  if (sectors > limits.sectors) return BlkAnswer::kIoError;
  const std::uint64_t bytes = sectors * kSectorBytes;
  if (!holds(image_bytes, sector, bytes)) return BlkAnswer::kIoError;
  const bool may_free = (range_flags(from) & kBlkRangeUnmap) != 0;
  range = {sector * kSectorBytes, bytes, may_free ? ZeroSpace::kMayFree : ZeroSpace::kKeep};
  return BlkAnswer::kOk;
}

}  // namespace

void BlkRequest::parse(DmaSpace& dma, const DescriptorChain& chain, const BlkRules& rules) {
  chain_ = &chain;
  range_count_ = 0;
  offset_ = bytes_ = 0;
  verdict_ = judge(dma, rules);
}

SegmentCursor BlkRequest::data() const {
  if (operation_ != BlkOperation::kWrite) return SegmentCursor(chain_->writable());
  SegmentCursor from(chain_->readable());
  from.skip(kBlkHeaderBytes);
  return from;
}

// The used length has 32 bits, and so has what a driver may ask for at once.
BlkAnswer BlkRequest::judge(DmaSpace& dma, const BlkRules& rules) {
  if (chain_->readable_bytes() + chain_->writable_bytes() > UINT32_MAX) return BlkAnswer::kIoError;
  std::array<std::byte, kBlkHeaderBytes> header;
  const DmaResult fetched = dma.read(chain_->readable(), header);
  if (!fetched.ok() || fetched.done != header.size()) return BlkAnswer::kIoError;
  const auto sector = get_little_endian<std::uint64_t>(&header[8]);
  switch (get_little_endian<std::uint32_t>(&header[0])) {
    case kBlkTypeIn: return judge_data(BlkOperation::kRead, sector, rules);
    case kBlkTypeOut: return judge_data(BlkOperation::kWrite, sector, rules);
    case kBlkTypeFlush: operation_ = BlkOperation::kFlush; return BlkAnswer::kOk;
    case kBlkTypeGetId:
      operation_ = BlkOperation::kIdentify;
      bytes_ = chain_->writable_bytes() - kBlkStatusBytes;
      return BlkAnswer::kOk;
    case kBlkTypeDiscard: return judge_ranges(BlkOperation::kDiscard, dma, rules);
    case kBlkTypeWriteZeroes: return judge_ranges(BlkOperation::kWriteZeroes, dma, rules);
    default: return BlkAnswer::kUnsupported;
  }
}

BlkAnswer BlkRequest::judge_data(BlkOperation operation, std::uint64_t sector,
                                 const BlkRules& rules) {
  const bool writes = operation == BlkOperation::kWrite;
  if (writes && rules.access == ImageAccess::kReadOnly) return BlkAnswer::kIoError;
  operation_ = operation;
  bytes_ = writes ? chain_->readable_bytes() - kBlkHeaderBytes
                  : chain_->writable_bytes() - kBlkStatusBytes;
  if (!holds(rules.image_bytes, sector, bytes_)) return BlkAnswer::kIoError;
  offset_ = sector * kSectorBytes;
  return BlkAnswer::kOk;
}

// Every range is judged before the first is executed, and the flags of all before anything
// else: an unknown one is what the driver hears of (section 5.2.6.2).
BlkAnswer BlkRequest::judge_ranges(BlkOperation operation, DmaSpace& dma, const BlkRules& rules) {
  const RangeLimits limits = limits_of(operation);
  if ((rules.features & limits.feature) == 0) return BlkAnswer::kUnsupported;
  operation_ = operation;
  const std::uint64_t room = chain_->readable_bytes() - kBlkHeaderBytes;
  const std::uint64_t count = room / kBlkRangeBytes;
  if (room % kBlkRangeBytes != 0 || count == 0 || count > limits.ranges) {
    return BlkAnswer::kIoError;
  }
  std::array<std::byte, kBlkMaxDiscardRanges * kBlkRangeBytes> raw;
  SegmentCursor from(chain_->readable());
  from.skip(kBlkHeaderBytes);
  if (!dma.read(from, std::span(raw).first(room)).ok()) return BlkAnswer::kIoError;
  for (std::size_t i = 0; i < count; ++i) {
    const std::uint32_t flags = range_flags(&raw[i * kBlkRangeBytes]);
    if ((flags & ~limits.flags) != 0) return BlkAnswer::kUnsupported;
  }
  for (std::size_t i = 0; i < count; ++i) {
    const BlkAnswer answer =
        judge_range(&raw[i * kBlkRangeBytes], limits, rules.image_bytes, ranges_[i]);
    if (answer != BlkAnswer::kOk) return answer;
  }
  range_count_ = count;
  return BlkAnswer::kOk;
}

}  // namespace vm_device::internal
