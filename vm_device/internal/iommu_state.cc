#include "vm_device/internal/iommu_state.h"

#include <chrono>
#include <new>
#include <thread>
#include <utility>

#include "absl/strings/str_format.h"
#include "vm_device/internal/without_exceptions.h"

namespace vm_device {

using internal::exhausted;
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

// Null: the host has no memory left.
IommuPort* Iommu::State::find_or_add_port(IommuDeviceId device) {
  try {
    const auto it = ports_.try_emplace(device).first;
    if (it->second == nullptr) it->second = std::make_unique<IommuPort>(device, epochs, faults);
    return it->second.get();
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}

IommuPort& Iommu::State::port(IommuDeviceId device) {
  const std::lock_guard lock(mutex_);
  IommuPort* const port = find_or_add_port(device);
  return port == nullptr ? no_port_ : *port;
}

IommuPort* Iommu::State::find_port(IommuDeviceId device) {
  const std::lock_guard lock(mutex_);
  const auto it = ports_.find(device);
  return it == ports_.end() ? nullptr : it->second.get();
}

IommuPort* Iommu::State::known_port(IommuDeviceId device) {
  const auto it = ports_.find(device);
  const bool known = it != ports_.end() && it->second != nullptr &&
                     it->second->target() != IommuPort::Target::kUnknown;
  return known ? it->second.get() : nullptr;
}

absl::StatusOr<IommuDomainId> Iommu::State::create_domain() {
  const std::lock_guard lock(mutex_);
  if (last_id_ == UINT32_MAX) return absl::ResourceExhaustedError("all domain ids were used");
  const IommuDomainId id{last_id_ + 1};
  try {
    auto domain = std::make_shared<IommuDomain>(epochs, budget, id.value);
    domains_.emplace(id, Entry{std::move(domain), std::list<Removed>(1)});
  } catch (const std::bad_alloc&) {
    return exhausted("the host has no memory left for domain %u", id.value);
  }
  last_id_ = id.value;
  return id;
}

std::uint64_t Iommu::State::devices_of(const IommuDomain& domain) const {
  std::uint64_t devices = 0;
  for (const auto& [id, port] : ports_) {
    if (port != nullptr && port->target() == IommuPort::target_of(domain)) ++devices;
  }
  return devices;
}

// DMA that found the domain before its last device left may still be in it.
absl::Status Iommu::State::remove_domain(IommuDomainId id) {
  const std::lock_guard lock(mutex_);
  const auto it = domains_.find(id);
  if (it == domains_.end()) return no_domain(id);
  const std::uint64_t devices = devices_of(*it->second.domain);
  if (devices > 0) {
    return absl::FailedPreconditionError(
        absl::StrFormat("domain %u has %u devices attached", id.value, devices));
  }
  it->second.place.front() = {std::move(it->second.domain), epochs.advance()};
  removed_.splice(removed_.end(), it->second.place);
  domains_.erase(it);
  reclaim_removed();
  return absl::OkStatus();
}

// The oldest come first, and as in IommuDomain::reclaim().
void Iommu::State::reclaim_removed() {
  if (removed_.empty() || epochs.users_before(removed_.front().epoch).threads > 0) return;
  const std::uint64_t oldest = epochs.oldest();
  while (!removed_.empty() && removed_.front().epoch <= oldest) removed_.pop_front();
}

// Nobody waits for mutex_ while it holds a domain's.
void Iommu::State::reclaim() {
  const std::lock_guard lock(mutex_);
  for (const auto& [id, entry] : domains_) {
    const std::lock_guard domain_lock(entry.domain->mutex());
    entry.domain->reclaim();
  }
  reclaim_removed();
}

absl::Status Iommu::State::add_device(IommuDeviceId device) {
  const std::lock_guard lock(mutex_);
  IommuPort* const added = find_or_add_port(device);
  if (added == nullptr) {
    return exhausted("the host has no memory left for device 0x%x", device.value);
  }
  if (added->target() != IommuPort::Target::kUnknown) {
    return absl::AlreadyExistsError(absl::StrFormat("there is a device 0x%x", device.value));
  }
  added->set_target(IommuPort::Target::kBlocked);
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
  port->set_target(IommuPort::target_of(*it->second.domain));
  return absl::OkStatus();
}

// Polled: the good path of DMA then has nobody to wake.
absl::Status Iommu::State::wait_for_dma(std::chrono::nanoseconds timeout) {
  constexpr auto kPause = std::chrono::microseconds(20);
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  const internal::IommuThread* const self = epochs.thread();
  if (self != nullptr && self->depth > 0) {
    return absl::FailedPreconditionError("this thread is in DMA itself: it would wait for itself");
  }
  const std::uint64_t epoch = epochs.advance();
  if (!epochs.settle()) {
    return absl::UnavailableError("the host refuses a barrier on the threads of this process");
  }
  for (;;) {
    const auto users = epochs.users_before(epoch);
    if (users.threads == 0 && users.mappings == 0) return absl::OkStatus();
    if (std::chrono::steady_clock::now() >= deadline) {
      return absl::DeadlineExceededError(
          absl::StrFormat("%u threads in DMA and %u mappings that are not unmapped are left",
                          users.threads, users.mappings));
    }
    std::this_thread::sleep_for(kPause);
  }
}

absl::StatusOr<std::shared_ptr<IommuDomain>> Iommu::State::domain(IommuDomainId id) {
  const std::lock_guard lock(mutex_);
  const auto it = domains_.find(id);
  if (it == domains_.end()) return no_domain(id);
  return it->second.domain;
}

}  // namespace vm_device
