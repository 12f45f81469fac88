#include "vm_device/virtio_console.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "vm_device/internal/config_space.h"
#include "vm_device/internal/virtio_layout.h"

namespace vm_device {
namespace {

constexpr std::uint64_t kFeatureSize = 1 << 0;
constexpr std::uint64_t kFeatureEmergencyWrite = 1 << 2;

constexpr std::uint16_t kConsoleReceiveQueue = 0;
constexpr std::uint16_t kConsoleTransmitQueue = 1;

// Of the configuration space: cols, rows, max_nr_ports, emerg_wr.
constexpr std::size_t kConsoleConfigBytes = 12;
constexpr std::uint64_t kConfigEmergencyWrite = 8;

constexpr TurnLimits kConsoleTurn{.steps = 256, .bytes = 4 * VirtioConsole::kMaxRequestBytes};
constexpr std::size_t kBounceBytes = 4096;

constexpr std::uint32_t packed(ConsoleSize size) {
  return std::uint32_t{size.rows} << 16 | size.columns;
}

}  // namespace

VirtioConsole::VirtioConsole(ConsolePeer& peer, VirtioConsoleOptions options)
    : peer_(&peer),
      bounce_(kBounceBytes),
      size_(packed(options.size)),
      shown_size_(size_),
      input_(options.input_bytes) {}

std::size_t VirtioConsole::send(std::span<const std::byte> bytes) {
  std::size_t taken = 0;
  {
    const std::lock_guard lock(mutex_);
    taken = std::min(bytes.size(), input_.size() - unread_);
    for (std::size_t done = 0; done < taken;) {
      const std::size_t at = (first_ + unread_) % input_.size();
      const std::size_t step = std::min(taken - done, input_.size() - at);
      std::memcpy(&input_[at], &bytes[done], step);
      unread_ += step;
      done += step;
    }
    refused_ = refused_ || taken < bytes.size();
  }
  if (taken != 0 && transport_ != nullptr) transport_->wake(kConsoleReceiveQueue);
  return taken;
}

std::size_t VirtioConsole::unread() const {
  const std::lock_guard lock(mutex_);
  return unread_;
}

void VirtioConsole::resize(ConsoleSize size) {
  size_ = packed(size);
  if (transport_ != nullptr) transport_->wake_config();
}

std::uint64_t VirtioConsole::device_features() const {
  return kFeatureSize | kFeatureEmergencyWrite;
}

void VirtioConsole::read_config(std::uint64_t offset, std::span<std::byte> to) const {
  std::array<std::byte, kConsoleConfigBytes> config{};
  internal::put_little_endian(&config[0], shown_size_);
  internal::put_little_endian(&config[4], std::uint32_t{1});
  internal::copy_config(config, offset, to);
}

// Accepted at any time, before the driver has said anything else.
void VirtioConsole::write_config(std::uint64_t offset, std::span<const std::byte> from) {
  if (offset == kConfigEmergencyWrite && !from.empty()) peer_->console_output(from.first(1));
}

// Of a driver that has put buffers into the queue before it was ready to be told.
void VirtioConsole::activate(VirtioTransport& transport) { transport.wake(kConsoleReceiveQueue); }

void VirtioConsole::notify(std::uint16_t index) {
  index == kConsoleTransmitQueue ? transmit() : receive();
}

absl::Status VirtioConsole::save(StateWriter& to) const {
  std::vector<std::byte> waiting(unread());
  peek_input(waiting);
  to(shown_size_);
  to.bytes(waiting, waiting.size());
  return absl::OkStatus();
}

// What the host has sent meanwhile is dropped: the guest goes on from where it was.
absl::Status VirtioConsole::load(StateReader& from) {
  from(shown_size_);
  const std::span<const std::byte> waiting = from.bytes(input_.size());
  if (!from.ok()) return from.status();
  drop_input(unread());
  send(waiting);
  if (shown_size_ != size_) transport_->wake_config();
  return absl::OkStatus();
}

void VirtioConsole::transmit() {
  QueueTurn turn(*transport_, kConsoleTransmitQueue, kConsoleTurn);
  while (turn.next(chain_)) {
    turn.spend(give_to_peer());
    turn.complete(chain_, 0);
  }
}

// Returns the bytes that were taken.
std::uint64_t VirtioConsole::give_to_peer() {
  const std::uint64_t wanted = std::min(chain_.readable_bytes(), kMaxRequestBytes);
  SegmentCursor from(chain_.readable());
  std::uint64_t done = 0;
  while (done < wanted) {
    const auto piece =
        std::span(bounce_).first(std::min<std::uint64_t>(bounce_.size(), wanted - done));
    const DmaResult moved = transport_->dma().read(from, piece);
    if (moved.done != 0) peer_->console_output(piece.first(moved.done));
    done += moved.done;
    if (!moved.ok()) break;
  }
  lost_output_.fetch_add(chain_.readable_bytes() - done, std::memory_order_relaxed);
  return done;
}

// One request takes at most a bounce buffer, so that input is dropped once it is where the
// driver finds it, and no earlier.
void VirtioConsole::receive() {
  bool took = false;
  {
    QueueTurn turn(*transport_, kConsoleReceiveQueue, kConsoleTurn);
    std::size_t count = 0;
    while ((count = peek_input(bounce_)) != 0 && turn.next(chain_)) {
      const DmaResult moved =
          transport_->dma().write(chain_.writable(), std::span(bounce_).first(count));
      drop_input(moved.done);
      turn.spend(moved.done);
      turn.complete(chain_, static_cast<std::uint32_t>(moved.done));
      took = took || moved.done != 0;
    }
  }
  if (!took) return;
  std::unique_lock lock(mutex_);
  if (!std::exchange(refused_, false)) return;
  lock.unlock();
  peer_->console_has_room();
}

std::size_t VirtioConsole::peek_input(std::span<std::byte> to) const {
  const std::lock_guard lock(mutex_);
  const std::size_t count = std::min(to.size(), unread_);
  if (count == 0) return 0;  // no memcpy to nowhere
  const std::size_t before_wrap = std::min(count, input_.size() - first_);
  std::memcpy(to.data(), &input_[first_], before_wrap);
  std::memcpy(to.data() + before_wrap, input_.data(), count - before_wrap);
  return count;
}

void VirtioConsole::drop_input(std::size_t bytes) {
  const std::lock_guard lock(mutex_);
  first_ = (first_ + bytes) % input_.size();
  unread_ -= bytes;
}

}  // namespace vm_device
