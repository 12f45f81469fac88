// The translations of one ring of a vhost-user device, and which of them its requests use.
#ifndef VM_DEVICE_INTERNAL_RING_TRANSLATIONS_H_
#define VM_DEVICE_INTERNAL_RING_TRANSLATIONS_H_

#include <array>
#include <cstddef>
#include <cstdint>

#include "vm_device/internal/bus_range.h"
#include "vm_device/internal/bus_translations.h"
#include "vm_device/internal/vhost_user_iotlb.h"

namespace vm_device::internal {

// Pages in use are counted in places that several share: what is said of one may be true of
// another, so that at worst a ring is drained for nothing.
class RingTranslations final : public BusTranslations {
 public:
  // Needs:  it outlives this object.
  RingTranslations(VhostUserIotlb& iotlb, std::size_t ring) : iotlb_(iotlb), ring_(ring) {}

  bool settled(DmaSegment range, DmaAccess access) override {
    return iotlb_.settled(range, access, {.ring = ring_, .is_request = true});
  }
  void hold(const DescriptorChain& chain) override { count(chain, 1); }
  void release(const DescriptorChain& chain) override { count(chain, UINT32_MAX); }

  // Whether a request that is under way may have a buffer there.
  bool may_use(const BusRange& range) const;

 private:
  static constexpr std::size_t kPlaces = 1024;
  // Of a buffer whose pages are counted one by one.
  static constexpr std::uint64_t kMostPages = 512;

  void count(const DescriptorChain& chain, std::uint32_t more);
  void count(const DmaSegment& buffer, std::uint32_t more);

  VhostUserIotlb& iotlb_;
  std::size_t ring_;
  std::array<std::uint32_t, kPlaces> in_use_{};
  std::uint32_t long_buffers_ = 0;
  std::uint32_t buffers_ = 0;
};

}  // namespace vm_device::internal

#endif  // VM_DEVICE_INTERNAL_RING_TRANSLATIONS_H_
