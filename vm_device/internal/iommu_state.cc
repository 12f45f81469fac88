#include "vm_device/internal/iommu_state.h"

#include <utility>

#include "absl/strings/str_format.h"

namespace vm_device {

using internal::IommuDomain;
using internal::IommuPort;

namespace {

absl::Status no_domain(IommuDomainId id) {
  return absl::NotFoundError(absl::StrFormat("there is no domain %u", id.value));
}
absl::Status no_device(IommuDeviceId device) {
  return absl::NotFoundError(absl::StrFormat("there is no device 0x%x", device.value));
}

}  // namespace

IommuPort& Iommu::State::port(IommuDeviceId device) {
  const std::lock_guard lock(mutex_);
  auto& port = ports_[device];
  if (port == nullptr) port = std::make_unique<IommuPort>(device, epochs, faults);
  return *port;
}

IommuPort* Iommu::State::known_port(IommuDeviceId device) {
  const auto it = ports_.find(device);
  const bool known = it != ports_.end() && it->second->target() != IommuPort::Target::kUnknown;
  return known ? it->second.get() : nullptr;
}

absl::StatusOr<IommuDomainId> Iommu::State::create_domain() {
  const std::lock_guard lock(mutex_);
  if (last_id_ == UINT32_MAX) return absl::ResourceExhaustedError("all domain ids were used");
  const IommuDomainId id{++last_id_};
  domains_.emplace(id, std::make_shared<IommuDomain>(epochs, budget, id.value));
  return id;
}

std::uint64_t Iommu::State::devices_of(const IommuDomain& domain) const {
  std::uint64_t devices = 0;
  for (const auto& [id, port] : ports_) {
    if (port->target() == IommuPort::target_of(domain)) ++devices;
  }
  return devices;
}

// DMA that found the domain before its last device left may still be in it.
absl::Status Iommu::State::remove_domain(IommuDomainId id) {
  const std::lock_guard lock(mutex_);
  const auto it = domains_.find(id);
  if (it == domains_.end()) return no_domain(id);
  const std::uint64_t devices = devices_of(*it->second);
  if (devices > 0) {
    return absl::FailedPreconditionError(
        absl::StrFormat("domain %u has %u devices attached", id.value, devices));
  }
  removed_.push_back({std::move(it->second), epochs.advance()});
  domains_.erase(it);
  const std::uint64_t oldest = epochs.oldest();
  removed_.remove_if([oldest](const Removed& removed) { return removed.epoch <= oldest; });
  return absl::OkStatus();
}

absl::Status Iommu::State::add_device(IommuDeviceId device) {
  IommuPort& added = port(device);
  const std::lock_guard lock(mutex_);
  if (added.target() != IommuPort::Target::kUnknown) {
    return absl::AlreadyExistsError(absl::StrFormat("there is a device 0x%x", device.value));
  }
  added.set_target(IommuPort::Target::kBlocked);
  return absl::OkStatus();
}

absl::Status Iommu::State::retarget(IommuDeviceId device, IommuPort::Target target) {
  const std::lock_guard lock(mutex_);
  IommuPort* const port = known_port(device);
  if (port == nullptr) return no_device(device);
  port->set_target(target);
  return absl::OkStatus();
}

absl::Status Iommu::State::attach(IommuDeviceId device, IommuDomainId id) {
  const std::lock_guard lock(mutex_);
  IommuPort* const port = known_port(device);
  if (port == nullptr) return no_device(device);
  const auto it = domains_.find(id);
  if (it == domains_.end()) return no_domain(id);
  port->set_target(IommuPort::target_of(*it->second));
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<IommuDomain>> Iommu::State::domain(IommuDomainId id) {
  const std::lock_guard lock(mutex_);
  const auto it = domains_.find(id);
  if (it == domains_.end()) return no_domain(id);
  return it->second;
}

}  // namespace vm_device
