#include "vm_device/virtqueue.h"

#include <cstdint>
#include <utility>
#include <variant>

#include "vm_device/internal/packed_ring.h"
#include "vm_device/internal/split_ring.h"

namespace vm_device {

using internal::PackedRing;
using internal::RingCore;
using internal::SplitRing;

// A branch on the form, in each call, is all that the two cost each other.
struct Virtqueue::Rings {
  explicit Rings(DmaSpace& space) : form(std::in_place_type<SplitRing>, space), dma(space) {}

  // Needs:  the queue is not enabled.
  void choose(std::uint64_t features) {
    const bool is_packed = std::holds_alternative<PackedRing>(form);
    if (((features & kFeatureRingPacked) != 0) == is_packed) return;
    if (is_packed) {
      form.emplace<SplitRing>(dma);
    } else {
      form.emplace<PackedRing>(dma);
    }
  }

  // Calls `use` with the ring.
  template <typename Use>
  [[gnu::always_inline]] decltype(auto) with(Use use) {
    if (auto* const packed = std::get_if<PackedRing>(&form)) return use(*packed);
    auto* const split = std::get_if<SplitRing>(&form);
    if (split == nullptr) __builtin_unreachable();  // or it would be looked for
    return use(*split);
  }
  RingCore& core() {
    return with([](auto& ring) -> RingCore& { return ring; });
  }

  std::variant<SplitRing, PackedRing> form;
  DmaSpace& dma;
};

Virtqueue::Virtqueue(DmaSpace& dma, std::uint16_t max_size)
    : rings_(std::make_unique<Rings>(dma)), max_size_(max_size) {}
Virtqueue::Virtqueue(Virtqueue&&) noexcept = default;
Virtqueue& Virtqueue::operator=(Virtqueue&&) noexcept = default;
Virtqueue::~Virtqueue() = default;

VirtqueueError Virtqueue::enable(const VirtqueueConfig& config) {
  reset();
  if (config.size == 0 || config.size > max_size_) return fail(VirtqueueError::kBadSize);
  rings_->choose(config.features);
  return rings_->with([&](auto& ring) { return ring.enable(config); });
}

bool Virtqueue::is_enabled() const { return rings_->core().is_enabled(); }
void Virtqueue::pause() { rings_->core().pause(); }
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
