#include "vm_device/internal/virtio_iommu_domains.h"

#include <new>

namespace vm_device::internal {
namespace {

IommuStatus iommu_status(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk: return IommuStatus::kOk;
    case absl::StatusCode::kResourceExhausted: return IommuStatus::kNoMemory;
    case absl::StatusCode::kAlreadyExists: return IommuStatus::kInvalid;
    default: return IommuStatus::kDeviceError;
  }
}

// Calls `act(range)` for [first, last], in two halves where 64 bits cannot count its bytes.
template <typename Act>
absl::Status for_iova_range(std::uint64_t first, std::uint64_t last, Act act) {
  constexpr std::uint64_t kHalf = std::uint64_t{1} << 63;
  if (last - first != UINT64_MAX) return act(DmaSegment{first, last - first + 1});
  const absl::Status lower = act(DmaSegment{0, kHalf});
  return lower.ok() ? act(DmaSegment{kHalf, kHalf}) : lower;
}

}  // namespace

VirtioIommuDomains::~VirtioIommuDomains() {
  reset();
  for (const auto& [endpoint, domain] : endpoints_) {
    iommu_.remove_device({endpoint}).IgnoreError();  // it is known
  }
}

absl::Status VirtioIommuDomains::add_endpoint(IommuDeviceId endpoint) {
  if (absl::Status status = iommu_.add_device(endpoint); !status.ok()) return status;
  try {
    endpoints_.emplace(endpoint.value, std::nullopt);
  } catch (const std::bad_alloc&) {
    iommu_.remove_device(endpoint).IgnoreError();
    return absl::ResourceExhaustedError("the host has no memory left for an endpoint");
  }
  release(endpoint);
  return absl::OkStatus();
}

// The endpoint is known: this cannot fail.
void VirtioIommuDomains::release(IommuDeviceId endpoint) {
  (bypasses_ ? iommu_.bypass(endpoint) : iommu_.detach(endpoint)).IgnoreError();
}

IommuStatus VirtioIommuDomains::make(std::uint32_t domain, DomainKind kind) {
  std::optional<IommuDomainId> id;
  if (kind == DomainKind::kMapped) {
    const auto made = iommu_.create_domain();
    if (!made.ok()) return iommu_status(made.status());
    id = *made;
  }
  try {
    domains_[domain].id = id;
    return IommuStatus::kOk;
  } catch (const std::bad_alloc&) {
    if (id.has_value()) iommu_.remove_domain(*id).IgnoreError();
    return IommuStatus::kNoMemory;
  }
}

// The domain before is left last: what the endpoint may reach changes in one step.
IommuStatus VirtioIommuDomains::attach(std::uint32_t domain, std::uint32_t endpoint,
                                       DomainKind kind) {
  const auto found = endpoints_.find(endpoint);
  if (found == endpoints_.end()) return IommuStatus::kNoEntry;
  std::optional<std::uint32_t>& attached = found->second;
  auto it = domains_.find(domain);
  if (it == domains_.end()) {
    if (const auto status = make(domain, kind); status != IommuStatus::kOk) return status;
    it = domains_.find(domain);
  } else if (it->second.id.has_value() != (kind == DomainKind::kMapped)) {
    return IommuStatus::kInvalid;
  } else if (attached == domain) {
    return IommuStatus::kOk;
  }
  const auto& id = it->second.id;
  const absl::Status moved =
      id.has_value() ? iommu_.attach({endpoint}, *id) : iommu_.bypass({endpoint});
  if (!moved.ok()) {
    if (it->second.endpoints == 0) erase(it);
    return iommu_status(moved);
  }
  ++it->second.endpoints;
  if (attached.has_value()) leave(*attached);
  attached = domain;
  return IommuStatus::kOk;
}

IommuStatus VirtioIommuDomains::detach(std::uint32_t domain, std::uint32_t endpoint) {
  const auto found = endpoints_.find(endpoint);
  if (found == endpoints_.end()) return IommuStatus::kNoEntry;
  if (found->second != domain) return IommuStatus::kInvalid;
  release({endpoint});
  found->second.reset();
  leave(domain);
  return IommuStatus::kOk;
}

void VirtioIommuDomains::leave(std::uint32_t domain) {
  const auto it = domains_.find(domain);
  if (--it->second.endpoints == 0) erase(it);
}

void VirtioIommuDomains::erase(Domains::iterator it) {
  if (it->second.id.has_value()) iommu_.remove_domain(*it->second.id).IgnoreError();
  mappings_ -= it->second.mappings.size();
  domains_.erase(it);
}

IommuStatus VirtioIommuDomains::install(IommuDomainId id, std::uint64_t first, std::uint64_t last,
                                        std::uint64_t to, DmaAccess permitted) {
  const absl::Status status = for_iova_range(first, last, [&](const DmaSegment& range) {
    return iommu_.map(id, range, vm_mem::GuestAddress{to + (range.address - first)}, permitted);
  });
  if (!status.ok() && last - first == UINT64_MAX) remove(id, first, last);  // the first half
  return iommu_status(status);
}

IommuStatus VirtioIommuDomains::remove(IommuDomainId id, std::uint64_t first, std::uint64_t last) {
  return iommu_status(for_iova_range(first, last, [&](const DmaSegment& range) {
    return iommu_.unmap_within(id, range).status();
  }));
}

IommuStatus VirtioIommuDomains::map(std::uint32_t domain, std::uint64_t first, std::uint64_t last,
                                    std::uint64_t to, std::optional<DmaAccess> permitted) {
  const auto it = domains_.find(domain);
  if (it == domains_.end()) return IommuStatus::kNoEntry;
  if (!it->second.id.has_value()) return IommuStatus::kInvalid;
  if ((first | to) % 4096 != 0 || (last + 1) % 4096 != 0) return IommuStatus::kRange;
  if (last - first > UINT64_MAX - to) return IommuStatus::kFault;
  auto& mappings = it->second.mappings;
  const auto after = mappings.upper_bound(last);
  if (after != mappings.begin() && std::prev(after)->second >= first) return IommuStatus::kInvalid;
  if (mappings_ >= max_mappings_) return IommuStatus::kNoMemory;
  try {
    mappings.emplace_hint(after, first, last);
  } catch (const std::bad_alloc&) {
    return IommuStatus::kNoMemory;
  }
  const IommuStatus status = permitted.has_value()
                                 ? install(*it->second.id, first, last, to, *permitted)
                                 : IommuStatus::kOk;
  if (status != IommuStatus::kOk) {
    mappings.erase(first);
    return status;
  }
  ++mappings_;
  return IommuStatus::kOk;
}

// One change of the table for all mappings in the range.
IommuStatus VirtioIommuDomains::unmap(std::uint32_t domain, std::uint64_t first,
                                      std::uint64_t last) {
  const auto it = domains_.find(domain);
  if (it == domains_.end()) return IommuStatus::kNoEntry;
  if (!it->second.id.has_value()) return IommuStatus::kInvalid;
  auto& mappings = it->second.mappings;
  const auto begin = mappings.lower_bound(first);
  const auto end = mappings.upper_bound(last);
  if (begin != mappings.begin() && std::prev(begin)->second >= first) return IommuStatus::kRange;
  if (begin == end) return IommuStatus::kOk;
  const std::uint64_t highest = std::prev(end)->second;
  if (highest > last) return IommuStatus::kRange;
  const IommuStatus status = remove(*it->second.id, begin->first, highest);
  if (status != IommuStatus::kOk) return status;
  mappings_ -= static_cast<std::uint64_t>(std::distance(begin, end));
  mappings.erase(begin, end);
  return IommuStatus::kOk;
}

void VirtioIommuDomains::bypass_unattached() {
  bypasses_ = true;
  for (const auto& [endpoint, domain] : endpoints_) {
    if (!domain.has_value()) release({endpoint});
  }
}

void VirtioIommuDomains::block_unattached() {
  bypasses_ = false;
  for (const auto& [endpoint, domain] : endpoints_) {
    if (!domain.has_value()) release({endpoint});
  }
}

void VirtioIommuDomains::reset() {
  for (auto& [endpoint, domain] : endpoints_) {
    release({endpoint});
    domain.reset();
  }
  while (!domains_.empty()) erase(domains_.begin());
}

}  // namespace vm_device::internal
