#include "vm_device/virtio_blk.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <utility>

#include "absl/strings/str_format.h"
#include "vm_device/internal/blk_executor.h"
#include "vm_device/internal/blk_layout.h"
#include "vm_device/internal/blk_request.h"
#include "vm_device/internal/virtio_layout.h"

namespace vm_device {
namespace {

using namespace internal;  // the layout

constexpr std::uint16_t kQueueSize = 256;
// Less the header and the status, so that a direct chain can hold a whole request.
constexpr std::uint32_t kSegMax = kQueueSize - 2;

constexpr std::uint32_t kMaxBlockBytes = 65536;

absl::Status check_blocks(const VirtioBlkOptions& options, std::uint64_t image_bytes) {
  for (const std::uint32_t bytes : {options.block_bytes, options.physical_block_bytes}) {
    if (bytes < kSectorBytes || bytes > kMaxBlockBytes || !std::has_single_bit(bytes)) {
      return absl::InvalidArgumentError(
          absl::StrFormat("a block of %u bytes is not a power of two from 512 to 65536", bytes));
    }
  }
  if (options.physical_block_bytes < options.block_bytes) {
    return absl::InvalidArgumentError(
        absl::StrFormat("physical blocks of %u bytes are smaller than the blocks of %u",
                        options.physical_block_bytes, options.block_bytes));
  }
  if (image_bytes % options.block_bytes == 0) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrFormat("the image of %u bytes is not a multiple of %u",
                                                    image_bytes, options.block_bytes));
}

absl::Status check(const VirtioBlkOptions& options, std::uint64_t image_bytes) {
  if (options.serial.size() > kBlkSerialBytes) {
    return absl::InvalidArgumentError(absl::StrFormat("the serial '%s' is longer than %u bytes",
                                                      options.serial, kBlkSerialBytes));
  }
  if (options.num_queues == 0 || options.num_queues > kMaxBlkQueues) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%u queues: want 1 to %u", options.num_queues, kMaxBlkQueues));
  }
  return check_blocks(options, image_bytes);
}

}  // namespace

absl::StatusOr<std::unique_ptr<VirtioBlk>> VirtioBlk::create(std::unique_ptr<BlockImage> image,
                                                             VirtioBlkOptions options) {
  if (image == nullptr) return absl::InvalidArgumentError("a block device needs an image");
  if (absl::Status bad = check(options, image->bytes()); !bad.ok()) return bad;
  return std::unique_ptr<VirtioBlk>(new VirtioBlk(std::move(image), std::move(options)));
}

VirtioBlk::VirtioBlk(std::unique_ptr<BlockImage> image, VirtioBlkOptions options)
    : image_(std::move(image)),
      options_(std::move(options)),
      capacity_(image_->bytes() / kSectorBytes),
      request_(std::make_unique<BlkRequest>()),
      executor_(std::make_unique<BlkExecutor>(*image_, options_.serial)) {}

VirtioBlk::~VirtioBlk() { image_->set_resize_listener(nullptr); }

std::uint64_t VirtioBlk::device_features() const {
  std::uint64_t features = kBlkFeatureSegMax | kBlkFeatureBlkSize | kBlkFeatureFlush |
                           kBlkFeatureTopology | kBlkFeatureConfigWce;
  if (options_.num_queues > 1) features |= kBlkFeatureMq;
  if (image_->access() == ImageAccess::kReadOnly) return features | kBlkFeatureReadOnly;
  if (image_->can_discard()) features |= kBlkFeatureDiscard;
  return features | kBlkFeatureWriteZeroes;
}

std::uint16_t VirtioBlk::max_queue_size(std::uint16_t) const { return kQueueSize; }

void VirtioBlk::read_config(std::uint64_t offset, std::span<std::byte> to) const {
  std::array<std::byte, kBlkConfigBytes> config{};
  const auto put = [&config]<typename T>(std::size_t at, T value) {
    put_little_endian(&config[at], value);
  };
  const auto physical = options_.physical_block_bytes / options_.block_bytes;
  put(kBlkConfigCapacity, capacity_);
  put(kBlkConfigSegMax, kSegMax);
  put(kBlkConfigBlkSize, options_.block_bytes);
  put(kBlkConfigPhysicalExponent, static_cast<std::uint8_t>(std::countr_zero(physical)));
  put(kBlkConfigMinIoSize, static_cast<std::uint16_t>(physical));
  put(kBlkConfigWriteback, static_cast<std::uint8_t>(is_write_back() ? 1 : 0));
  put(kBlkConfigNumQueues, options_.num_queues);
  put(kBlkConfigMaxDiscardSectors, kBlkMaxDiscardSectors);
  put(kBlkConfigMaxDiscardRanges, kBlkMaxDiscardRanges);
  put(kBlkConfigDiscardAlignment,
      static_cast<std::uint32_t>(options_.physical_block_bytes / kSectorBytes));
  put(kBlkConfigMaxZeroSectors, kBlkMaxZeroSectors);
  put(kBlkConfigMaxZeroRanges, kBlkMaxZeroRanges);
  put(kBlkConfigZeroMayUnmap, std::uint8_t{1});
  std::fill(to.begin(), to.end(), std::byte{0});
  if (offset >= config.size()) return;
  const std::size_t count = std::min(to.size(), config.size() - offset);
  std::memcpy(to.data(), &config[offset], count);
}

// What was written while there was a cache is flushed: the driver does not ask for it any
// more.
void VirtioBlk::write_config(std::uint64_t offset, std::span<const std::byte> from) {
  if ((accepted_features() & kBlkFeatureConfigWce) == 0) return;
  if (offset > kBlkConfigWriteback || kBlkConfigWriteback - offset >= from.size()) return;
  const bool was_write_back = is_write_back();
  write_back_ = from[kBlkConfigWriteback - offset] != std::byte{0};
  if (was_write_back && !write_back_) executor_->flush();
}

void VirtioBlk::take_config() { capacity_ = image_->bytes() / kSectorBytes; }

void VirtioBlk::connect(VirtioTransport& transport) {
  image_->set_resize_listener([&transport] { transport.wake_config(); });
}

void VirtioBlk::activate(VirtioTransport& transport) { transport_ = &transport; }

void VirtioBlk::reset() {
  transport_ = nullptr;
  write_back_ = true;
}

// Before activate() nothing is agreed on.
std::uint64_t VirtioBlk::accepted_features() const {
  return transport_ == nullptr ? 0 : transport_->accepted_features();
}

bool VirtioBlk::is_write_back() const {
  const bool can_flush = transport_ == nullptr || (accepted_features() & kBlkFeatureFlush) != 0;
  return write_back_ && can_flush;
}

void VirtioBlk::notify(std::uint16_t index) {
  QueueTurn turn(*transport_, index);
  while (turn.next(chain_)) serve(turn);
}

void VirtioBlk::serve(QueueTurn& turn) {
  if (chain_.writable_bytes() < kBlkStatusBytes) return turn.fail(VirtqueueError::kUnanswerable);
  const std::uint64_t room = chain_.writable_bytes() - kBlkStatusBytes;
  DmaSpace& dma = transport_->dma();
  request_->parse(dma, chain_, {image_->bytes(), image_->access(), accepted_features()});
  const BlkOutcome outcome = executor_->execute(
      *request_, dma, is_write_back() ? BlkCaching::kWriteBack : BlkCaching::kWriteThrough);
  turn.spend(outcome.moved);
  SegmentCursor status(chain_.writable());
  status.skip(room);
  const std::byte answer{static_cast<std::uint8_t>(outcome.answer)};
  if (!dma.write(status, std::span(&answer, 1)).ok()) {
    return turn.fail(VirtqueueError::kUnanswerable);
  }
  const std::uint64_t used = outcome.written == room ? room + kBlkStatusBytes : outcome.written;
  turn.complete(chain_, static_cast<std::uint32_t>(used));
}

}  // namespace vm_device
