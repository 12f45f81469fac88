// Where a device meets the IOMMU, and a stretch of DMA of it.
#ifndef VM_DEVICE_INTERNAL_IOMMU_PORT_H_
#define VM_DEVICE_INTERNAL_IOMMU_PORT_H_

#include <algorithm>
#include <atomic>
#include <cstdint>

#include "vm_device/internal/iommu_domain.h"
#include "vm_device/internal/iommu_epochs.h"
#include "vm_device/internal/iommu_fault_queue.h"
#include "vm_device/iommu.h"

namespace vm_device::internal {

// Lives as long as its Iommu.
class IommuPort {
 public:
  // Where the device's DMA goes: one word, so that a change is seen whole. What is none of
  // the constants is a domain.
  enum class Target : std::uintptr_t { kUnknown, kBlocked, kBypassed };

  IommuPort(IommuDeviceId device, IommuEpochs& epochs, IommuFaultQueue& faults)
      : device_(device), epochs_(epochs), faults_(faults) {}

  static Target target_of(const IommuDomain& domain) {
    return static_cast<Target>(reinterpret_cast<std::uintptr_t>(&domain));
  }
  // Null where the target is none.
  static const IommuDomain* domain_of(Target target) {
    return target <= Target::kBypassed
               ? nullptr
               : reinterpret_cast<const IommuDomain*>(static_cast<std::uintptr_t>(target));
  }

  IommuEpochs& epochs() { return epochs_; }
  Target target() const { return target_.load(std::memory_order_acquire); }
  void set_target(Target target) { target_.store(target); }

  void record(std::uint64_t iova, DmaAccess access, IommuFaultReason reason) {
    faults_.push({device_, iova, access, reason});
  }

 private:
  const IommuDeviceId device_;
  IommuEpochs& epochs_;
  IommuFaultQueue& faults_;
  std::atomic<Target> target_{Target::kUnknown};
};

// The address does not wait for that of the domain and its serial number.
inline Iotlb& tlb_of(IommuThread& thread, const IommuDomain& domain) {
  if (thread.recent_domain != &domain) [[unlikely]] {
    thread.recent_tlb = &thread.tlbs[domain.serial() % IommuThread::kTlbs];
    thread.recent_domain = &domain;
  }
  return *thread.recent_tlb;
}

// DMA in progress on this thread: what it finds stays valid while the object lives. With
// no port every bus address is a guest address.
class IommuSection {
 public:
  explicit IommuSection(IommuPort* port) : port_(port) {
    if (port == nullptr) return;
    thread_ = port->epochs().thread();
    if (thread_ != nullptr) port->epochs().enter(*thread_);
  }
  IommuSection(const IommuSection&) = delete;
  IommuSection& operator=(const IommuSection&) = delete;
  ~IommuSection() {
    if (thread_ != nullptr) IommuEpochs::leave(*thread_);
  }

  // The first of [iova, iova + bytes) that lie one after the other in the guest too. None:
  // refused, and recorded. Needs: bytes > 0.
  GuestSegment translate(std::uint64_t iova, std::uint64_t bytes, DmaAccess access) {
    if (port_ == nullptr) return {vm_mem::GuestAddress{iova}, bytes};
    const IommuPort::Target target = port_->target();
    const IommuDomain* const domain = IommuPort::domain_of(target);
    if (domain == nullptr || thread_ == nullptr) [[unlikely]]
      return without_domain(target, iova, bytes, access);
    Iotlb& tlb = tlb_of(*thread_, *domain);
    if (tlb.domain != domain->serial() || tlb.generation != domain->generation()) [[unlikely]]
      domain->refresh(tlb);
    const Iotlb::Entry* entry = tlb.find(iova, static_cast<std::uint8_t>(access));
    if (entry == nullptr) [[unlikely]] {
      entry = miss(*domain, tlb, iova, bytes, access);
      if (entry == nullptr) return {};
    }
    const std::uint64_t after = entry->extent - (iova - entry->first);
    return {vm_mem::GuestAddress{iova + entry->shift}, std::min(bytes - 1, after) + 1};
  }

  // As translate(), of what follows the first `done` bytes of `range`. What lies past 2^64
  // is mapped nowhere.
  GuestSegment next(const DmaSegment& range, std::uint64_t done, DmaAccess access) {
    const std::uint64_t iova = range.address + done;
    if (iova >= range.address) [[likely]]
      return translate(iova, range.bytes - done, access);
    if (port_ != nullptr) port_->record(iova, access, IommuFaultReason::kUnmapped);
    return {};
  }

  // As IommuEpochs::hold(). Needs:  a port, and a translation that was not refused.
  std::uint64_t hold() const { return port_->epochs().hold(*thread_); }

 private:
  GuestSegment without_domain(IommuPort::Target target, std::uint64_t iova, std::uint64_t bytes,
                              DmaAccess access);
  const Iotlb::Entry* miss(const IommuDomain& domain, Iotlb& tlb, std::uint64_t iova,
                           std::uint64_t bytes, DmaAccess access);

  IommuPort* port_;
  IommuThread* thread_ = nullptr;
};

// The same for DMA to memory alone, of which this thread has all translations in mind: no
// table is looked into, and no fault is recorded.
class IommuGlance {
 public:
  // Whether there may be one. Needs:  a thread of the port's IOMMU, or null.
  static bool possible(const IommuThread* thread) {
    return thread != nullptr && thread->depth == 0;
  }

  IommuGlance(const IommuPort& port, IommuEpochs& epochs, IommuThread& thread)
      : port_(port), thread_(thread) {
    epochs.announce(thread);
  }
  IommuGlance(const IommuGlance&) = delete;
  IommuGlance& operator=(const IommuGlance&) = delete;
  ~IommuGlance() { IommuEpochs::withdraw(thread_); }

  // Whether [iova, iova + bytes) lies one after the other in the guest too, and where.
  // Of no bytes nothing is known.
  bool find(std::uint64_t iova, std::uint64_t bytes, DmaAccess access,
            vm_mem::GuestAddress& to) const {
    const IommuDomain* const domain = IommuPort::domain_of(port_.target());
    if (domain == nullptr) [[unlikely]]
      return false;
    const Iotlb& tlb = tlb_of(thread_, *domain);
    if (tlb.domain != domain->serial() || tlb.generation != domain->generation()) [[unlikely]]
      return false;
    const Iotlb::Entry* const entry = tlb.find(iova, static_cast<std::uint8_t>(access));
    if (entry == nullptr || bytes - 1 > entry->extent - (iova - entry->first)) [[unlikely]]
      return false;
    to = {iova + entry->shift};
    return true;
  }

 private:
  const IommuPort& port_;
  IommuThread& thread_;
};

}  // namespace vm_device::internal

#endif  // VM_DEVICE_INTERNAL_IOMMU_PORT_H_
