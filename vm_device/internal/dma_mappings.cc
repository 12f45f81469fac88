#include "vm_device/internal/dma_mappings.h"

#include <new>

namespace vm_device {

std::span<std::byte> DmaMapping::bytes() const {
  return held_ != nullptr && held_->is_open() ? held_->bytes : std::span<std::byte>();
}
std::uint64_t DmaMapping::address() const { return held_ == nullptr ? 0 : held_->address(); }
bool DmaMapping::is_zero_copy() const {
  return held_ != nullptr && held_->is_open() && held_->copy == nullptr;
}

namespace internal {

DmaMappings::~DmaMappings() {
  for (const auto& held : open_) {
    if (held->close()) let_go(*held);
  }
}

std::unique_ptr<std::byte[]> DmaMappings::make_copy(std::uint64_t bytes) {
  std::uint64_t copied = copied_.load(std::memory_order_relaxed);
  do {
    if (bytes > max_copied_ - copied) return nullptr;
  } while (!copied_.compare_exchange_weak(copied, copied + bytes, std::memory_order_relaxed));
  std::unique_ptr<std::byte[]> copy(new (std::nothrow) std::byte[bytes]());
  if (copy == nullptr) drop_copy(bytes);
  return copy;
}

std::shared_ptr<HeldMapping> DmaMappings::open(std::uint64_t address, DmaDirection direction) {
  try {
    auto held = std::make_shared<HeldMapping>(address, direction);
    const std::lock_guard lock(mutex_);
    open_.insert(held);
    return held;
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}

bool DmaMappings::take(const std::shared_ptr<HeldMapping>& held) {
  const std::lock_guard lock(mutex_);
  return open_.erase(held) > 0 && held->close();
}

void DmaMappings::let_go(HeldMapping& held) {
  if (held.copy != nullptr) drop_copy(held.bytes.size());
  held.copy.reset();
  held.lease.release();
  if (held.port != nullptr) held.port->epochs().release(held.epoch);
}

std::uint64_t DmaMappings::count() const {
  const std::lock_guard lock(mutex_);
  return open_.size();
}

}  // namespace internal
}  // namespace vm_device
