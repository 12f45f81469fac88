// What an Iommu owns: its domains and the ports of its devices.
#ifndef VM_DEVICE_INTERNAL_IOMMU_STATE_H_
#define VM_DEVICE_INTERNAL_IOMMU_STATE_H_

#include <chrono>
#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <mutex>

#include "vm_device/internal/iommu_domain.h"
#include "vm_device/internal/iommu_epochs.h"
#include "vm_device/internal/iommu_fault_queue.h"
#include "vm_device/internal/iommu_port.h"
#include "vm_device/iommu.h"

namespace vm_device {

class Iommu::State {
 public:
  explicit State(const IommuOptions& options)
      : faults(options.fault_queue), no_port_({UINT32_MAX}, epochs, faults) {
    budget.limit = options.max_table_bytes / internal::IommuTable::kNodeBytes;
  }

  // The port of a device, known or not; where the host has no memory left for it, one
  // through which nothing can be reached.
  internal::IommuPort& port(IommuDeviceId device);
  // Null: nobody has asked for it.
  internal::IommuPort* find_port(IommuDeviceId device);

  absl::StatusOr<IommuDomainId> create_domain();
  absl::Status remove_domain(IommuDomainId id);
  absl::Status add_device(IommuDeviceId device);
  // Errors:  kNotFound.
  absl::Status retarget(IommuDeviceId device, internal::IommuPort::Target target);
  absl::Status attach(IommuDeviceId device, IommuDomainId id);

  // Shared: it stays while a call changes it, though it be removed meanwhile.
  // Errors:  kNotFound.
  absl::StatusOr<std::shared_ptr<internal::IommuDomain>> domain(IommuDomainId id);

  // As that of the Iommu. Needs: a timeout that the clock can count from now.
  absl::Status wait_for_dma(std::chrono::nanoseconds timeout);

  // Frees the tables of all domains, removed ones too, that no thread can be in any more.
  // Needs:  the caller has locked no domain.
  void reclaim();

  internal::IommuEpochs epochs;
  internal::IommuFaultQueue faults;
  internal::IommuNodeBudget budget;

 private:
  struct Removed {
    std::shared_ptr<internal::IommuDomain> domain;
    std::uint64_t epoch = 0;
  };
  struct Entry {
    std::shared_ptr<internal::IommuDomain> domain;
    std::list<Removed> place;  // in removed_, made beforehand: a removal cannot fail
  };

  internal::IommuPort* find_or_add_port(IommuDeviceId device);
  internal::IommuPort* known_port(IommuDeviceId device);
  std::uint64_t devices_of(const internal::IommuDomain& domain) const;
  void reclaim_removed();

  std::mutex mutex_;  // of what follows
  std::uint32_t last_id_ = 0;
  std::map<IommuDomainId, Entry> domains_;
  std::map<IommuDeviceId, std::unique_ptr<internal::IommuPort>> ports_;
  std::list<Removed> removed_;  // the oldest first
  internal::IommuPort no_port_;
};

}  // namespace vm_device

#endif  // VM_DEVICE_INTERNAL_IOMMU_STATE_H_
