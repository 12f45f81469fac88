#include "vm_device/block_image.h"

#include <algorithm>
#include <array>
#include <utility>

namespace vm_device {
namespace {

constexpr std::array<std::byte, 64 * 1024> kZeros{};

}  // namespace

int BlockImage::write_zeroes(std::uint64_t offset, std::uint64_t bytes, ZeroSpace) {
  for (std::uint64_t done = 0; done < bytes;) {
    const auto step = std::span(kZeros).first(std::min<std::uint64_t>(kZeros.size(), bytes - done));
    if (const int error = write_at(offset + done, step); error != 0) return error;
    done += step.size();
  }
  return 0;
}

void BlockImage::set_resize_listener(std::function<void()> listener) {
  const std::lock_guard lock(listener_mutex_);
  listener_ = std::move(listener);
}

void BlockImage::announce_resize() {
  const std::lock_guard lock(listener_mutex_);
  if (listener_ != nullptr) listener_();
}

}  // namespace vm_device
