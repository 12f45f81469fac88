// The domains, mappings and endpoints of a virtio IOMMU device, on top of an Iommu.
#ifndef VM_DEVICE_INTERNAL_VIRTIO_IOMMU_DOMAINS_H_
#define VM_DEVICE_INTERNAL_VIRTIO_IOMMU_DOMAINS_H_

#include <cstdint>
#include <map>
#include <optional>
#include <span>

#include "absl/status/status.h"
#include "vm_device/internal/virtio_iommu_layout.h"
#include "vm_device/iommu.h"

namespace vm_device::internal {

// Every call is all or nothing, and none throws: the host's lack of memory is kNoMemory.
// add_endpoint() alone may throw, where there is none for its message.
//
// Threads:  one at a time.
class VirtioIommuDomains {
 public:
  enum class DomainKind : std::uint8_t { kMapped, kBypass };

  VirtioIommuDomains(Iommu& iommu, std::uint64_t max_mappings)
      : iommu_(iommu), max_mappings_(max_mappings) {}
  VirtioIommuDomains(const VirtioIommuDomains&) = delete;
  VirtioIommuDomains& operator=(const VirtioIommuDomains&) = delete;
  // The Iommu forgets the endpoints.
  ~VirtioIommuDomains();

  // Errors:  those of Iommu::add_device; kResourceExhausted.
  absl::Status add_endpoint(IommuDeviceId endpoint);
  bool has_endpoint(std::uint32_t endpoint) const { return endpoints_.count(endpoint) != 0; }

  IommuStatus attach(std::uint32_t domain, std::uint32_t endpoint, DomainKind kind);
  IommuStatus detach(std::uint32_t domain, std::uint32_t endpoint);
  // `permitted` is nullopt for a mapping that permits nothing. Both ends are inclusive and
  // `first` <= `last`.
  IommuStatus map(std::uint32_t domain, std::uint64_t first, std::uint64_t last, std::uint64_t to,
                  std::optional<DmaAccess> permitted);
  IommuStatus unmap(std::uint32_t domain, std::uint64_t first, std::uint64_t last);

  // For the endpoints that are attached to no domain, from here on.
  void bypass_unattached();
  void block_unattached();
  // Detaches every endpoint.
  void reset();

  std::uint64_t mappings() const { return mappings_; }
  std::size_t domains() const { return domains_.size(); }

 private:
  struct Domain {
    std::optional<IommuDomainId> id;  // none: a bypass domain
    std::uint64_t endpoints = 0;
    std::map<std::uint64_t, std::uint64_t> mappings;  // first -> last
  };
  using Domains = std::map<std::uint32_t, Domain>;

  IommuStatus make(std::uint32_t domain, DomainKind kind);
  IommuStatus install(IommuDomainId id, std::uint64_t first, std::uint64_t last, std::uint64_t to,
                      DmaAccess permitted);
  IommuStatus remove(IommuDomainId id, std::uint64_t first, std::uint64_t last);
  void leave(std::uint32_t domain);
  void erase(Domains::iterator it);
  void release(IommuDeviceId endpoint);

  Iommu& iommu_;
  const std::uint64_t max_mappings_;
  std::uint64_t mappings_ = 0;
  bool bypasses_ = false;  // what is attached to no domain
  Domains domains_;
  std::map<std::uint32_t, std::optional<std::uint32_t>> endpoints_;  // and their domains
};

}  // namespace vm_device::internal

#endif  // VM_DEVICE_INTERNAL_VIRTIO_IOMMU_DOMAINS_H_
