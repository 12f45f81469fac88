#include "vm_device/virtio_blk.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <utility>

#include "absl/strings/str_format.h"
#include "vm_device/internal/blk_executor.h"
#include "vm_device/internal/blk_flights.h"
#include "vm_device/internal/blk_layout.h"
#include "vm_device/internal/blk_request.h"
#include "vm_device/internal/virtio_layout.h"

namespace vm_device {
namespace {

using namespace internal;  // the layout

constexpr std::uint16_t kMinQueueSize = 4;
// Of a request, with its header and its status.
constexpr std::uint32_t kMostDescriptors = 256;

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
  const bool has_size = options.queue_size >= kMinQueueSize &&
                        options.queue_size <= kMaxBlkQueueSize &&
                        std::has_single_bit(options.queue_size);
  if (!has_size) {
    return absl::InvalidArgumentError(
        absl::StrFormat("queues of %u descriptors: want a power of two from %u to %u",
                        options.queue_size, kMinQueueSize, kMaxBlkQueueSize));
  }
  return check_blocks(options, image_bytes);
}

}  // namespace

absl::StatusOr<std::unique_ptr<VirtioBlk>> VirtioBlk::create(std::unique_ptr<BlockImage> image,
                                                             VirtioBlkOptions options) {
  if (image == nullptr) return absl::InvalidArgumentError("a block device needs an image");
  if (absl::Status bad = check(options, image->bytes()); !bad.ok()) return bad;
  std::unique_ptr<VirtioBlk> device(new VirtioBlk(std::move(image), std::move(options)));
  if (device->options_.service == BlkService::kInNotify) return device;
  auto flights = BlkFlights::create(device->options_.num_queues);
  if (!flights.ok()) return flights.status();
  device->flights_ = std::move(*flights);
  return device;
}

VirtioBlk::VirtioBlk(std::unique_ptr<BlockImage> image, VirtioBlkOptions options)
    : image_(std::move(image)),
      options_(std::move(options)),
      capacity_(disk_bytes() / kSectorBytes),
      request_(std::make_unique<BlkRequest>()),
      executor_(std::make_unique<BlkExecutor>(*image_, options_.serial)) {}

VirtioBlk::~VirtioBlk() {
  image_->set_resize_listener(nullptr);
  if (flights_ != nullptr) flights_->disconnect();
}

std::uint64_t VirtioBlk::device_features() const {
  std::uint64_t features = kBlkFeatureSegMax | kBlkFeatureBlkSize | kBlkFeatureFlush |
                           kBlkFeatureTopology | kBlkFeatureConfigWce;
  if (options_.num_queues > 1) features |= kBlkFeatureMq;
  if (image_->access() == ImageAccess::kReadOnly) return features | kBlkFeatureReadOnly;
  if (image_->can_discard()) features |= kBlkFeatureDiscard;
  return features | kBlkFeatureWriteZeroes;
}

std::uint16_t VirtioBlk::max_queue_size(std::uint16_t) const { return options_.queue_size; }

void VirtioBlk::read_config(std::uint64_t offset, std::span<std::byte> to) const {
  std::array<std::byte, kBlkConfigBytes> config{};
  const auto put = [&config]<typename T>(std::size_t at, T value) {
    put_little_endian(&config[at], value);
  };
  const auto physical = options_.physical_block_bytes / options_.block_bytes;
  put(kBlkConfigCapacity, capacity_);
  // A direct chain can hold a whole request.
  put(kBlkConfigSegMax, std::min<std::uint32_t>(options_.queue_size, kMostDescriptors) - 2);
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
// more. Where that fails the cache stays on, and the driver reads so.
void VirtioBlk::write_config(std::uint64_t offset, std::span<const std::byte> from) {
  if ((accepted_features() & kBlkFeatureConfigWce) == 0) return;
  if (offset > kBlkConfigWriteback || kBlkConfigWriteback - offset >= from.size()) return;
  const bool write_back = from[kBlkConfigWriteback - offset] != std::byte{0};
  if (is_write_back() && !write_back && executor_->flush() != 0) return;
  write_back_ = write_back;
}

// A new size may be no number of blocks.
std::uint64_t VirtioBlk::disk_bytes() const {
  return image_->bytes() & ~(std::uint64_t{options_.block_bytes} - 1);
}

void VirtioBlk::take_config() { capacity_ = disk_bytes() / kSectorBytes; }

// The size may have changed while nobody listened. Once somebody does, the capacity is the
// transport's to look at.
void VirtioBlk::connect(VirtioTransport& transport) {
  const std::uint64_t known = capacity_;
  image_->set_resize_listener([&transport] { transport.wake_config(); });
  if (disk_bytes() / kSectorBytes != known) transport.wake_config();
  if (flights_ != nullptr) flights_->connect(transport);
}

void VirtioBlk::activate(VirtioTransport& transport) { transport_ = &transport; }

void VirtioBlk::reset_queue(std::uint16_t queue) {
  if (flights_ != nullptr) flights_->forget(queue);
}

void VirtioBlk::reset() {
  if (flights_ != nullptr) flights_->forget_all();
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
  if (flights_ == nullptr) {
    while (turn.next(chain_)) {
      if (parse(turn, chain_)) execute(turn, chain_);
    }
    return;
  }
  land_all(turn, index);
  while (BlkFlight* const flight = flights_->claim(index)) {
    const bool is_taken = turn.next(flight->chain);
    if (!is_taken || !launch(turn, *flight)) flights_->give_back(*flight);
    if (!is_taken) return;
    if (flights_->take_at_hand()) land_all(turn, index);
  }
}

// A turn that takes nothing: it tells the driver. What lands may have to be synced. What there
// was no place for is in the ring, and nobody else will say so: the queue is looked at again.
void VirtioBlk::drain() {
  if (flights_ == nullptr) return;
  for (std::uint16_t queue = 0; queue < options_.num_queues; ++queue) {
    do {
      QueueTurn turn(*transport_, queue);
      land_all(turn, queue);
    } while (flights_->wait(queue));
    transport_->wake(queue);
  }
}

template <typename Archive, typename Device>
void VirtioBlk::fields(Archive& archive, Device& device) {
  archive(device.capacity_, device.write_back_);
}

// The blocks are the driver's to know, too.
absl::Status VirtioBlk::save(StateWriter& to) const {
  to(options_.block_bytes, options_.physical_block_bytes);
  fields(to, *this);
  return absl::OkStatus();
}

absl::Status VirtioBlk::load(StateReader& from) {
  std::uint32_t block_bytes = 0;
  std::uint32_t physical_block_bytes = 0;
  from(block_bytes, physical_block_bytes);
  fields(from, *this);
  from.check(capacity_ <= UINT64_MAX / kSectorBytes, "a disk without end");
  if (!from.ok()) return from.status();
  if (block_bytes != options_.block_bytes ||
      physical_block_bytes != options_.physical_block_bytes) {
    return absl::FailedPreconditionError(absl::StrFormat(
        "the driver knows blocks of %u bytes (physical: %u), not of %u (%u)", block_bytes,
        physical_block_bytes, options_.block_bytes, options_.physical_block_bytes));
  }
  if (disk_bytes() / kSectorBytes == capacity_) return absl::OkStatus();
  if (transport_ == nullptr) {
    take_config();  // no driver yet who would be told
  } else {
    transport_->wake_config();
  }
  return absl::OkStatus();
}

void VirtioBlk::land_all(QueueTurn& turn, std::uint16_t queue) {
  while (BlkFlight* const flight = flights_->next_landed(queue)) {
    if (land(turn, *flight)) flights_->give_back(*flight);
  }
}

// False: there is no place for an answer, and the queue has stopped.
bool VirtioBlk::parse(QueueTurn& turn, const DescriptorChain& chain) {
  if (chain.writable_bytes() < kBlkStatusBytes) {
    turn.fail(VirtqueueError::kUnanswerable);
    return false;
  }
  const BlkRules rules{disk_bytes(), image_->access(), accepted_features()};
  request_->parse(transport_->dma(), chain, rules);
  return true;
}

void VirtioBlk::execute(QueueTurn& turn, const DescriptorChain& chain) {
  const BlkOutcome outcome =
      executor_->execute(*request_, transport_->dma(),
                         is_write_back() ? BlkCaching::kWriteBack : BlkCaching::kWriteThrough);
  turn.spend(outcome.moved);
  answer(turn, chain, outcome);
}

void VirtioBlk::answer(QueueTurn& turn, const DescriptorChain& chain, const BlkOutcome& outcome) {
  const std::uint64_t room = chain.writable_bytes() - kBlkStatusBytes;
  SegmentCursor status(chain.writable());
  status.skip(room);
  const std::byte code{static_cast<std::uint8_t>(outcome.answer)};
  if (!transport_->dma().write(status, std::span(&code, 1)).ok()) {
    return turn.fail(VirtqueueError::kUnanswerable);
  }
  const std::uint64_t used = outcome.written == room ? room + kBlkStatusBytes : outcome.written;
  turn.complete(chain, static_cast<std::uint32_t>(used));
}

// True: the request is under way. Else it is answered, or the queue has stopped.
bool VirtioBlk::launch(QueueTurn& turn, BlkFlight& flight) {
  if (!parse(turn, flight.chain)) return false;
  if (!start(flight)) {
    execute(turn, flight.chain);
    return false;
  }
  turn.spend(request_->bytes());
  return true;
}

bool VirtioBlk::start(BlkFlight& flight) {
  if (request_->verdict() != BlkAnswer::kOk) return false;
  const BlkOperation operation = request_->operation();
  flight.operation = operation;
  if (operation == BlkOperation::kRead || operation == BlkOperation::kWrite) {
    const AsyncFile file = image_->file_at(request_->offset(), request_->bytes());
    return file.descriptor >= 0 && flights_->start(flight, *request_, transport_->dma(), file);
  }
  const bool flushes =
      operation == BlkOperation::kFlush && image_->access() == ImageAccess::kReadWrite;
  return flushes && start_sync(flight);
}

// What the flush has to cover is what the driver knows to be written: that has landed.
bool VirtioBlk::start_sync(BlkFlight& flight) {
  const AsyncFile file = image_->file_at(0, 0);
  return file.descriptor >= 0 && flights_->start_sync(flight, file.descriptor);
}

// False: it is under way again.
bool VirtioBlk::land(QueueTurn& turn, BlkFlight& flight) {
  BlkOutcome outcome;
  if (!flight.completion.ok()) outcome.answer = BlkAnswer::kIoError;
  if (flight.operation == BlkOperation::kRead) outcome.written = flight.completion.dma.done;
  const bool has_written = flight.operation == BlkOperation::kWrite && !flight.is_sync;
  if (has_written && flight.completion.ok() && !is_write_back()) {
    if (start_sync(flight)) return false;
    if (executor_->flush() != 0) outcome.answer = BlkAnswer::kIoError;
  }
  answer(turn, flight.chain, outcome);
  return true;
}

}  // namespace vm_device
