#include "vm_device/net_loopback.h"

#include <algorithm>

#include "vm_device/internal/frame_queue.h"

namespace vm_device {

struct NetLoopback::Direction {
  explicit Direction(const NetLoopbackOptions& options)
      : frames(options.frames, options.frame_bytes) {}

  internal::FrameQueue frames;
  std::function<void()> arrived;
};

std::pair<std::unique_ptr<NetLoopback>, std::unique_ptr<NetLoopback>> NetLoopback::pair(
    NetLoopbackOptions options) {
  auto there = std::make_shared<Direction>(options);
  auto back = std::make_shared<Direction>(options);
  return {std::unique_ptr<NetLoopback>(new NetLoopback(there, back)),
          std::unique_ptr<NetLoopback>(new NetLoopback(back, there))};
}

NetLoopback::NetLoopback(std::shared_ptr<Direction> out, std::shared_ptr<Direction> in)
    : out_(std::move(out)), in_(std::move(in)) {}

NetLoopback::~NetLoopback() = default;

void NetLoopback::on_arrival(std::function<void()> arrived) { in_->arrived = std::move(arrived); }

SendStatus NetLoopback::send(std::span<const std::byte> frame) {
  const std::span<std::byte> room = out_->frames.back();
  if (frame.empty() || frame.size() > room.size()) return SendStatus::kRefused;
  std::copy(frame.begin(), frame.end(), room.begin());
  out_->frames.push(frame.size());
  if (out_->arrived) out_->arrived();
  return SendStatus::kSent;
}

std::optional<std::size_t> NetLoopback::receive(std::span<std::byte> to) {
  const std::span<const std::byte> frame = in_->frames.front();
  if (frame.empty()) return std::nullopt;
  const std::size_t bytes = frame.size();
  std::copy_n(frame.begin(), std::min(bytes, to.size()), to.begin());
  in_->frames.pop();
  return bytes;
}

}  // namespace vm_device
