#include "vm_device/internal/iommu_port.h"

namespace vm_device::internal {

// Or without memory of the host's for this thread: that is refused as well.
GuestSegment IommuSection::without_domain(IommuPort::Target target, std::uint64_t iova,
                                          std::uint64_t bytes, DmaAccess access) {
  if (target == IommuPort::Target::kBypassed && thread_ != nullptr) {
    return {vm_mem::GuestAddress{iova}, bytes};
  }
  const bool unknown = target == IommuPort::Target::kUnknown;
  port_->record(iova, access,
                unknown ? IommuFaultReason::kUnknownDevice : IommuFaultReason::kNoDomain);
  return {};
}

const Iotlb::Entry* IommuSection::miss(const IommuDomain& domain, Iotlb& tlb, std::uint64_t iova,
                                       std::uint64_t bytes, DmaAccess access) {
  const std::uint64_t last = bytes - 1 > UINT64_MAX - iova ? UINT64_MAX : iova + (bytes - 1);
  bool mapped = false;
  const Iotlb::Entry* const entry =
      domain.walk(tlb, iova, last, static_cast<std::uint8_t>(access), mapped);
  if (entry == nullptr) {
    port_->record(iova, access,
                  mapped ? IommuFaultReason::kForbidden : IommuFaultReason::kUnmapped);
  }
  return entry;
}

}  // namespace vm_device::internal
