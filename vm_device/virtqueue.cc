#include "vm_device/virtqueue.h"

#include "vm_device/internal/packed_ring.h"
#include "vm_device/internal/split_ring.h"

namespace vm_device {

using internal::PackedRing;
using internal::RingCore;
using internal::SplitRing;

// Both forms; one of them is in use. A branch on which, in each call, is all that they cost
// each other.
struct Virtqueue::Rings {
  explicit Rings(DmaSpace& dma) : split(dma), packed(dma) {}

  // Calls `use` with the ring that is in use.
  template <typename Use>
  [[gnu::always_inline]] auto with(Use use) {
    return is_packed ? use(packed) : use(split);
  }
  RingCore& core() { return is_packed ? static_cast<RingCore&>(packed) : split; }

  SplitRing split;
  bool is_packed = false;
  PackedRing packed;
};

Virtqueue::Virtqueue(DmaSpace& dma, std::uint16_t max_size)
    : rings_(std::make_unique<Rings>(dma)), max_size_(max_size) {}
Virtqueue::Virtqueue(Virtqueue&&) noexcept = default;
Virtqueue& Virtqueue::operator=(Virtqueue&&) noexcept = default;
Virtqueue::~Virtqueue() = default;

VirtqueueError Virtqueue::enable(const VirtqueueConfig& config) {
  reset();
  if (config.size == 0 || config.size > max_size_) return fail(VirtqueueError::kBadSize);
  rings_->is_packed = (config.features & kFeatureRingPacked) != 0;
  return rings_->with([&](auto& ring) { return ring.enable(config); });
}

bool Virtqueue::is_enabled() const { return rings_->core().is_enabled(); }
void Virtqueue::reset() { rings_->core().reset(); }
VirtqueueError Virtqueue::error() const { return rings_->core().error(); }
VirtqueueError Virtqueue::fail(VirtqueueError error) { return rings_->core().fail(error); }

VirtqueueState Virtqueue::state() const {
  return rings_->with([](const auto& ring) { return ring.state(); });
}
bool Virtqueue::is_idle() const {
  return rings_->with([](const auto& ring) { return ring.is_idle(); });
}

PopStatus Virtqueue::pop(DescriptorChain& chain) {
  return rings_->with([&](auto& ring) { return ring.pop(chain); });
}
VirtqueueError Virtqueue::push(const DescriptorChain& chain, std::uint32_t written) {
  return rings_->with([&](auto& ring) { return ring.push(chain, written); });
}
VirtqueueError Virtqueue::stage(const DescriptorChain& chain, std::uint32_t written) {
  return rings_->with([&](auto& ring) { return ring.stage(chain, written); });
}
VirtqueueError Virtqueue::publish() {
  return rings_->with([](auto& ring) { return ring.publish(); });
}
bool Virtqueue::wants_interrupt() {
  return rings_->with([](auto& ring) { return ring.wants_interrupt(); });
}
void Virtqueue::suppress_notifications() {
  rings_->with([](auto& ring) { ring.suppress_notifications(); });
}
bool Virtqueue::resume_notifications() {
  return rings_->with([](auto& ring) { return ring.resume_notifications(); });
}

}  // namespace vm_device
