#include "vm_device/virtio_blk.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "absl/strings/str_format.h"
#include "vm_device/internal/virtio_layout.h"

namespace vm_device {
namespace {

constexpr std::uint64_t kFeatureSegMax = 1 << 2;
constexpr std::uint64_t kFeatureReadOnly = 1 << 5;
constexpr std::uint64_t kFeatureBlkSize = 1 << 6;
constexpr std::uint64_t kFeatureFlush = 1 << 9;

constexpr std::uint32_t kTypeIn = 0;
constexpr std::uint32_t kTypeOut = 1;
constexpr std::uint32_t kTypeFlush = 4;
constexpr std::uint32_t kTypeGetId = 8;

constexpr std::size_t kHeaderBytes = 16;
constexpr std::size_t kSerialBytes = 20;
constexpr std::uint64_t kStatusBytes = 1;
constexpr std::uint16_t kQueueSize = 256;
// Less the header and the status, so that a direct chain can hold a whole request.
constexpr std::uint32_t kSegMax = kQueueSize - 2;

// Large enough that the system call is small against the copy, small enough for L2.
constexpr std::size_t kBounceBytes = 128 * 1024;

// Of the configuration space: capacity, size_max, seg_max, geometry, blk_size.
constexpr std::size_t kConfigBytes = 24;

enum class Answer : std::uint8_t { kOk = 0, kIoError = 1, kUnsupported = 2 };

}  // namespace

// `written` counts data bytes, from the first writable one on.
struct VirtioBlk::Outcome {
  Answer answer = Answer::kOk;
  std::uint64_t written = 0;
};

absl::StatusOr<std::unique_ptr<VirtioBlk>> VirtioBlk::create(std::unique_ptr<BlockImage> image,
                                                             VirtioBlkOptions options) {
  if (image == nullptr) return absl::InvalidArgumentError("a block device needs an image");
  if (options.serial.size() > kSerialBytes) {
    return absl::InvalidArgumentError(
        absl::StrFormat("the serial '%s' is longer than %u bytes", options.serial, kSerialBytes));
  }
  return std::unique_ptr<VirtioBlk>(new VirtioBlk(std::move(image), std::move(options.serial)));
}

VirtioBlk::VirtioBlk(std::unique_ptr<BlockImage> image, std::string serial)
    : image_(std::move(image)), serial_(std::move(serial)), bounce_(kBounceBytes) {}

std::uint64_t VirtioBlk::device_features() const {
  const bool read_only = image_->access() == ImageAccess::kReadOnly;
  return kFeatureSegMax | kFeatureBlkSize | kFeatureFlush | (read_only ? kFeatureReadOnly : 0);
}

std::uint16_t VirtioBlk::max_queue_size(std::uint16_t) const { return kQueueSize; }

void VirtioBlk::read_config(std::uint64_t offset, std::span<std::byte> to) const {
  std::array<std::byte, kConfigBytes> config{};
  internal::put_little_endian(&config[0], image_->bytes() / kSectorBytes);
  internal::put_little_endian(&config[12], kSegMax);
  internal::put_little_endian(&config[20], static_cast<std::uint32_t>(kSectorBytes));
  std::fill(to.begin(), to.end(), std::byte{0});
  if (offset >= config.size()) return;
  const std::size_t count = std::min(to.size(), config.size() - offset);
  std::memcpy(to.data(), &config[offset], count);
}

void VirtioBlk::notify(std::uint16_t index) {
  QueueTurn turn(*transport_, index);
  while (turn.next(chain_)) serve(turn);
}

void VirtioBlk::serve(QueueTurn& turn) {
  if (chain_.writable_bytes() < kStatusBytes) return turn.fail(VirtqueueError::kUnanswerable);
  const std::uint64_t room = chain_.writable_bytes() - kStatusBytes;
  moved_ = 0;
  const Outcome outcome = execute();
  turn.spend(moved_);
  SegmentCursor status(chain_.writable());
  status.skip(room);
  const std::byte answer{static_cast<std::uint8_t>(outcome.answer)};
  if (!transport_->dma().write(status, std::span(&answer, 1)).ok()) {
    return turn.fail(VirtqueueError::kUnanswerable);
  }
  const std::uint64_t used = outcome.written == room ? room + kStatusBytes : outcome.written;
  turn.complete(chain_, static_cast<std::uint32_t>(used));
}

// The used length has 32 bits, and so has what a driver may ask for at once.
VirtioBlk::Outcome VirtioBlk::execute() {
  if (chain_.readable_bytes() + chain_.writable_bytes() > UINT32_MAX) return {Answer::kIoError};
  std::array<std::byte, kHeaderBytes> header;
  const DmaResult fetched = transport_->dma().read(chain_.readable(), header);
  if (!fetched.ok() || fetched.done != header.size()) return {Answer::kIoError};
  const auto type = internal::get_little_endian<std::uint32_t>(&header[0]);
  const auto sector = internal::get_little_endian<std::uint64_t>(&header[8]);
  switch (type) {
    case kTypeIn: return read_sectors(sector);
    case kTypeOut: return write_sectors(sector);
    case kTypeFlush: return flush();
    case kTypeGetId: return identify();
    default: return {Answer::kUnsupported};
  }
}

bool VirtioBlk::holds(std::uint64_t sector, std::uint64_t bytes) const {
  const std::uint64_t capacity = image_->bytes() / kSectorBytes;
  return bytes % kSectorBytes == 0 && sector <= capacity &&
         bytes / kSectorBytes <= capacity - sector;
}

VirtioBlk::Outcome VirtioBlk::read_sectors(std::uint64_t sector) {
  const std::uint64_t bytes = chain_.writable_bytes() - kStatusBytes;
  if (!holds(sector, bytes)) return {Answer::kIoError};
  SegmentCursor to(chain_.writable());
  std::uint64_t done = 0;
  while (done < bytes) {
    const auto step =
        std::span(bounce_).first(std::min<std::uint64_t>(bounce_.size(), bytes - done));
    if (image_->read_at(sector * kSectorBytes + done, step) != 0) return {Answer::kIoError, done};
    const DmaResult moved = transport_->dma().write(to, step);
    moved_ += step.size();
    done += moved.done;
    if (!moved.ok()) return {Answer::kIoError, done};
  }
  return {Answer::kOk, done};
}

VirtioBlk::Outcome VirtioBlk::write_sectors(std::uint64_t sector) {
  const std::uint64_t bytes = chain_.readable_bytes() - kHeaderBytes;
  if (image_->access() == ImageAccess::kReadOnly || !holds(sector, bytes)) {
    return {Answer::kIoError};
  }
  SegmentCursor from(chain_.readable());
  from.skip(kHeaderBytes);
  for (std::uint64_t done = 0; done < bytes;) {
    const auto step =
        std::span(bounce_).first(std::min<std::uint64_t>(bounce_.size(), bytes - done));
    moved_ += step.size();
    if (!transport_->dma().read(from, step).ok()) return {Answer::kIoError};
    if (image_->write_at(sector * kSectorBytes + done, step) != 0) return {Answer::kIoError};
    done += step.size();
  }
  const bool driver_flushes = (transport_->accepted_features() & kFeatureFlush) != 0;
  return driver_flushes ? Outcome{Answer::kOk} : flush();
}

VirtioBlk::Outcome VirtioBlk::identify() {
  std::array<std::byte, kSerialBytes> serial{};
  std::memcpy(serial.data(), serial_.data(), serial_.size());
  const std::uint64_t room = chain_.writable_bytes() - kStatusBytes;
  SegmentCursor to(chain_.writable());
  const DmaResult moved = transport_->dma().write(
      to, std::span(serial).first(std::min<std::uint64_t>(serial.size(), room)));
  return {moved.ok() ? Answer::kOk : Answer::kIoError, moved.done};
}

VirtioBlk::Outcome VirtioBlk::flush() {
  if (image_->access() == ImageAccess::kReadOnly) return {Answer::kOk};
  return {image_->flush() == 0 ? Answer::kOk : Answer::kIoError};
}

}  // namespace vm_device
