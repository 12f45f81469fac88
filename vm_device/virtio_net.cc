#include "vm_device/virtio_net.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_format.h"
#include "vm_device/internal/config_space.h"
#include "vm_device/internal/frame_queue.h"
#include "vm_device/internal/virtio_layout.h"

namespace vm_device {
namespace {

constexpr std::uint64_t kFeatureMtu = 1 << 3;
constexpr std::uint64_t kFeatureMac = 1 << 5;
constexpr std::uint64_t kFeatureMergeableBuffers = 1 << 15;
constexpr std::uint64_t kFeatureStatus = 1 << 16;

constexpr std::uint16_t kReceiveQueue = 0;
constexpr std::uint16_t kTransmitQueue = 1;

// Before every frame: flags, gso_type, hdr_len, gso_size, csum_start, csum_offset, all of
// them for offloads, and num_buffers.
constexpr std::size_t kHeaderBytes = 12;
constexpr std::size_t kHeaderBuffers = 10;
constexpr std::byte kNeedsChecksum{1};

// Of the configuration space: mac, status, max_virtqueue_pairs, mtu.
constexpr std::size_t kConfigBytes = 12;
constexpr std::uint16_t kStatusLinkUp = 1;

constexpr std::uint16_t kMinMtu = 68;  // virtio 1.2, section 5.1.4.1
constexpr std::size_t kEthernetBytes = 14;
constexpr std::size_t kVlanBytes = 4;

constexpr TurnLimits kTransmitTurn{.steps = 512, .bytes = std::uint64_t{8} << 20};
constexpr int kMaxFramesPerTurn = 256;
// So that its end is never in the middle of a frame.
constexpr TurnLimits kReceiveTurn{.steps = kMaxFramesPerTurn *
                                           static_cast<int>(VirtioNet::kMaxMergedBuffers + 1)};

void count(std::atomic<std::uint64_t>& counter) { counter.fetch_add(1, std::memory_order_relaxed); }

}  // namespace

absl::StatusOr<std::unique_ptr<VirtioNet>> VirtioNet::create(std::unique_ptr<NetBackend> backend,
                                                             VirtioNetOptions options) {
  if (backend == nullptr) return absl::InvalidArgumentError("a network device needs a back end");
  if (options.waiting_frames == 0) return absl::InvalidArgumentError("no frame may wait");
  if (options.mtu < kMinMtu) {
    return absl::InvalidArgumentError(
        absl::StrFormat("an MTU of 0x%x is below 0x%x", options.mtu, kMinMtu));
  }
  if ((options.mac[0] & 1) != 0) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "a MAC address whose first byte is 0x%x is that of a group", options.mac[0]));
  }
  return std::unique_ptr<VirtioNet>(new VirtioNet(std::move(backend), options));
}

VirtioNet::VirtioNet(std::unique_ptr<NetBackend> backend, const VirtioNetOptions& options)
    : backend_(std::move(backend)),
      options_(options),
      max_frame_bytes_(options.mtu + kEthernetBytes + kVlanBytes),
      outgoing_(max_frame_bytes_),
      buffers_(kMaxMergedBuffers),
      waiting_(std::make_unique<internal::FrameQueue>(options.waiting_frames, max_frame_bytes_)),
      overflow_(max_frame_bytes_) {}

VirtioNet::~VirtioNet() = default;

std::size_t VirtioNet::poll() {
  std::size_t frames = 0;
  {
    const std::lock_guard lock(poll_mutex_);
    for (; frames < kMaxPolledFrames; ++frames) {
      const std::span<std::byte> room = waiting_->back();
      const auto bytes = backend_->receive(room.empty() ? std::span(overflow_) : room);
      if (!bytes.has_value()) break;
      if (*bytes < kEthernetBytes || *bytes > max_frame_bytes_ || !is_up()) {
        count(received_bad_);
      } else if (room.empty()) {
        count(received_overflow_);
      } else {
        waiting_->push(*bytes);
      }
    }
  }
  if (frames != 0 && transport_ != nullptr) transport_->wake(kReceiveQueue);
  return frames;
}

void VirtioNet::set_link(NetLink link) {
  if (link_.exchange(link) != link && transport_ != nullptr) transport_->wake_config();
}

VirtioNetCounters VirtioNet::counters() const {
  return {sent_.load(),         sent_bad_.load(),          sent_refused_.load(),  received_.load(),
          received_bad_.load(), received_overflow_.load(), received_unfit_.load()};
}

std::uint64_t VirtioNet::device_features() const {
  return kFeatureMtu | kFeatureMac | kFeatureMergeableBuffers | kFeatureStatus;
}

void VirtioNet::read_config(std::uint64_t offset, std::span<std::byte> to) const {
  std::array<std::byte, kConfigBytes> config{};
  std::transform(options_.mac.begin(), options_.mac.end(), config.begin(),
                 [](std::uint8_t it) { return std::byte{it}; });
  internal::put_little_endian(&config[6],
                              shown_link_ == NetLink::kUp ? kStatusLinkUp : std::uint16_t{0});
  internal::put_little_endian(&config[8], std::uint16_t{1});
  internal::put_little_endian(&config[10], options_.mtu);
  internal::copy_config(config, offset, to);
}

// Of a driver that has put buffers into the queue before it was ready to be told.
void VirtioNet::activate(VirtioTransport& transport) { transport.wake(kReceiveQueue); }

// What came for the driver of before is not for the next one.
void VirtioNet::reset() {
  for (; !waiting_->front().empty(); waiting_->pop()) count(received_overflow_);
}

absl::Status VirtioNet::save(StateWriter& to) const {
  to(options_.mac, options_.mtu, shown_link_ == NetLink::kUp);
  for (std::size_t i = 0;; ++i) {
    const std::span<const std::byte> frame = waiting_->peek(i);
    to.bytes(frame, max_frame_bytes_);
    if (frame.empty()) return absl::OkStatus();
  }
}

absl::Status VirtioNet::load(StateReader& from) {
  MacAddress mac{};
  std::uint16_t mtu = 0;
  bool was_up = false;
  from(mac, mtu, was_up);
  if (from.ok() && (mac != options_.mac || mtu != options_.mtu)) {
    return absl::FailedPreconditionError("the driver knows another MAC address or MTU");
  }
  const std::lock_guard lock(poll_mutex_);
  // Of what has come since the reset nothing is the guest's, and there may be no room beside it.
  reset();
  for (;;) {
    const std::span<const std::byte> frame = from.bytes(max_frame_bytes_);
    if (frame.empty()) break;
    const std::span<std::byte> room = waiting_->back();
    from.check(frame.size() >= kEthernetBytes && !room.empty(), "a frame that cannot wait");
    if (!from.ok()) break;
    std::copy(frame.begin(), frame.end(), room.begin());
    waiting_->push(frame.size());
  }
  shown_link_ = was_up ? NetLink::kUp : NetLink::kDown;
  if (shown_link_ != link_) transport_->wake_config();
  return from.status();
}

void VirtioNet::notify(std::uint16_t index) { index == kTransmitQueue ? transmit() : receive(); }

void VirtioNet::transmit() {
  QueueTurn turn(*transport_, kTransmitQueue, kTransmitTurn);
  while (turn.next(chain_)) {
    count(send_frame());
    turn.spend(std::min<std::uint64_t>(chain_.readable_bytes(), max_frame_bytes_));
    turn.complete(chain_, 0);
  }
}

// Returns what has become of the frame.
VirtioNet::Counter& VirtioNet::send_frame() {
  const std::uint64_t bytes = chain_.readable_bytes();
  if (bytes < kHeaderBytes + kEthernetBytes || bytes > kHeaderBytes + max_frame_bytes_) {
    return sent_bad_;
  }
  SegmentCursor from(chain_.readable());
  std::array<std::byte, kHeaderBytes> header;
  const auto frame = std::span(outgoing_).first(bytes - kHeaderBytes);
  if (!transport_->dma().read(from, header).ok()) return sent_bad_;
  const bool plain = (header[0] & kNeedsChecksum) == std::byte{0} && header[1] == std::byte{0};
  if (!plain || !transport_->dma().read(from, frame).ok()) return sent_bad_;
  if (!is_up() || backend_->send(frame) != SendStatus::kSent) return sent_refused_;
  return sent_;
}

void VirtioNet::receive() {
  QueueTurn turn(*transport_, kReceiveQueue, kReceiveTurn);
  for (int frames = 0; frames < kMaxFramesPerTurn; ++frames) {
    const std::span<const std::byte> frame = waiting_->front();
    if (frame.empty()) return;
    const Fit fit = take_buffers(turn, kHeaderBytes + frame.size());
    if (fit == Fit::kNoBuffer) return;
    const bool given = fit == Fit::kFits && write_frame(frame);
    give_back_buffers(given ? kHeaderBytes + frame.size() : 0);
    count(given ? received_ : received_unfit_);
    waiting_->pop();
  }
  transport_->defer(kReceiveQueue);
}

// As many of the driver's buffers as `bytes` need; the header needs the first.
VirtioNet::Fit VirtioNet::take_buffers(QueueTurn& turn, std::uint64_t bytes) {
  const bool merges = (transport_->accepted_features() & kFeatureMergeableBuffers) != 0;
  const std::size_t most = merges ? kMaxMergedBuffers : 1;
  std::uint64_t room = 0;
  buffer_count_ = 0;
  while (room < bytes && buffer_count_ < most && turn.next(buffers_[buffer_count_])) {
    room += buffers_[buffer_count_++].writable_bytes();
    if (room < kHeaderBytes) return Fit::kTooSmall;
  }
  if (buffer_count_ == 0) return Fit::kNoBuffer;
  return room < bytes ? Fit::kTooSmall : Fit::kFits;
}

bool VirtioNet::write_frame(std::span<const std::byte> frame) {
  std::array<std::byte, kHeaderBytes> header{};
  internal::put_little_endian(&header[kHeaderBuffers], static_cast<std::uint16_t>(buffer_count_));
  for (std::size_t i = 0; i < buffer_count_; ++i) {
    SegmentCursor to(buffers_[i].writable());
    std::uint64_t room = buffers_[i].writable_bytes();
    if (i == 0) {
      if (!transport_->dma().write(to, header).ok()) return false;
      room -= kHeaderBytes;
    }
    const auto part = frame.first(std::min<std::uint64_t>(room, frame.size()));
    if (!transport_->dma().write(to, part).ok()) return false;
    frame = frame.subspan(part.size());
  }
  return true;
}

// The driver is told of all buffers of a frame at once: it looks for the others when it
// has seen the first.
void VirtioNet::give_back_buffers(std::uint64_t bytes) {
  Virtqueue& queue = transport_->queue(kReceiveQueue);
  for (const DescriptorChain& it : std::span(buffers_).first(buffer_count_)) {
    const std::uint64_t part = std::min(bytes, it.writable_bytes());
    queue.stage(it, static_cast<std::uint32_t>(part));
    bytes -= part;
  }
  queue.publish();
}

}  // namespace vm_device
