// Translates the bus addresses of devices (IOVAs) to guest addresses, with permissions,
// and keeps what a device may not do from happening.
#ifndef VM_DEVICE_IOMMU_H_
#define VM_DEVICE_IOMMU_H_

#include <chrono>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "vm_device/dma_result.h"
#include "vm_device/dma_segment.h"
#include "vm_mem/guest_address.h"

namespace vm_device {

namespace internal {
class IommuPort;
}

// By which the IOMMU tells devices apart: a PCI requester ID, a stream ID.
struct IommuDeviceId {
  std::uint32_t value = 0;
  friend constexpr auto operator<=>(IommuDeviceId, IommuDeviceId) = default;
};

// An address space of the IOMMU's. Never used twice by one Iommu.
struct IommuDomainId {
  std::uint32_t value = 0;
  friend constexpr auto operator<=>(IommuDomainId, IommuDomainId) = default;
};

enum class IommuFaultReason : std::uint8_t {
  kUnknownDevice,  // add_device() was not called
  kNoDomain,       // neither attached nor bypassed
  kUnmapped,       // the domain has nothing there
  kForbidden,      // mapped, but not for this access
};

std::string_view iommu_fault_reason_name(IommuFaultReason reason);

// A DMA that was refused.
struct IommuFault {
  IommuDeviceId device;
  std::uint64_t address = 0;  // IOVA of the first byte that was refused
  DmaAccess access = DmaAccess::kRead;
  IommuFaultReason reason = IommuFaultReason::kUnmapped;

  friend constexpr bool operator==(const IommuFault&, const IommuFault&) = default;
};

// Is told that there are faults to be read.
class IommuFaultListener {
 public:
  // A fault was put into the queue, by DMA of this thread, which is still in it: reads what
  // it needs and returns soon.
  virtual void fault_recorded() = 0;

 protected:
  ~IommuFaultListener() = default;
};

struct IommuOptions {
  // Faults that wait to be read; what comes while the queue is full is counted, not kept.
  std::size_t fault_queue = 256;
  // The most memory for the tables of all domains: a guest decides on how many it needs.
  std::uint64_t max_table_bytes = std::uint64_t{256} << 20;
};

// A run of guest addresses.
struct GuestSegment {
  vm_mem::GuestAddress address;
  std::uint64_t bytes = 0;

  friend constexpr bool operator==(const GuestSegment&, const GuestSegment&) = default;
};

// `segments` of the caller's list hold the first `done` bytes. No fault and fewer bytes
// than were asked for: the list is full. `at` is the IOVA of the byte that was refused.
struct IommuTranslation {
  DmaFault fault = DmaFault::kNone;  // kNone or kTranslation
  std::size_t segments = 0;
  std::uint64_t done = 0;
  std::uint64_t at = 0;

  [[nodiscard]] constexpr bool ok() const { return fault == DmaFault::kNone; }
};

// Devices are blocked until they are attached to a domain or bypassed. A domain is a table
// of pages of 4 KiB, 2 MiB, 1 GiB and further powers of 512.
//
// Units:    IOVAs, guest addresses and byte counts are multiples of 4096, except those of
//           translate(). A range may end at 2^64.
// Errors:   every call is all or nothing, and its message has the numbers:
//           kInvalidArgument     empty, misaligned, past 2^64, or permitting nothing
//           kNotFound            no such domain or device; unmap: a byte is not mapped
//           kAlreadyExists       the device is known; map: a byte is mapped already
//           kFailedPrecondition  devices are attached to the domain
//           kResourceExhausted   max_table_bytes, or the host has no memory left (not even
//                                for a message, it may be)
// Memory:   a DMA that starts after a call has returned sees the change. One that runs
//           meanwhile may see it or not, run of pages by run of pages; wait_for_dma() waits
//           for those.
// Threads:  any number at a time. DMA takes no lock and does not wait.
class Iommu {
 public:
  // Errors:  kInvalidArgument    a fault queue of no or more than 2^20 records
  //          kResourceExhausted  the host has no memory left
  static absl::StatusOr<std::unique_ptr<Iommu>> create(IommuOptions options);

  Iommu(const Iommu&) = delete;
  Iommu& operator=(const Iommu&) = delete;
  // Needs:  no DMA in progress; no DmaSpace behind it is used any more, nor a DmaMapping
  //         of one outstanding.
  ~Iommu();

  absl::StatusOr<IommuDomainId> create_domain();
  absl::Status remove_domain(IommuDomainId domain);

  // A device that was removed is refused like one that never was.
  absl::Status add_device(IommuDeviceId device);
  absl::Status remove_device(IommuDeviceId device);
  // Each replaces what was before.
  absl::Status attach(IommuDeviceId device, IommuDomainId domain);
  absl::Status bypass(IommuDeviceId device);  // IOVA = guest address, everything permitted
  absl::Status detach(IommuDeviceId device);  // blocked

  // Uses the largest pages that fit.
  absl::Status map(IommuDomainId domain, DmaSegment iova, vm_mem::GuestAddress to,
                   DmaAccess permitted);
  // Splits pages that are larger than what goes.
  absl::Status unmap(IommuDomainId domain, DmaSegment iova);
  // As unmap(), of what is mapped in `iova`. Returns its bytes.
  absl::StatusOr<std::uint64_t> unmap_within(IommuDomainId domain, DmaSegment iova);

  // Makes every thread look into the table again. unmap() does so by itself.
  absl::Status invalidate(IommuDomainId domain, DmaSegment iova);
  absl::Status invalidate(IommuDomainId domain);

  // Waits until every DMA that began before this call has ended, and every DmaMapping made
  // before it is unmapped: then nothing uses what was unmapped before. A year is the
  // longest that it waits.
  //
  // Errors:  kFailedPrecondition  this thread is in DMA itself (in an MmioHandler)
  //          kDeadlineExceeded    the message counts who is left
  //          kUnavailable         the host refuses the barrier that it offered (membarrier)
  absl::Status wait_for_dma(std::chrono::nanoseconds timeout);

  // Where DMA of `device` to `range` goes now. A refusal is recorded as that of DMA is.
  // Guest addresses that follow each other are one segment. The guest addresses are not
  // judged: what is there is the memory's affair.
  IommuTranslation translate(IommuDeviceId device, DmaSegment range, DmaAccess access,
                             std::span<GuestSegment> out);

  // Takes the oldest faults, as many as fit; returns how many.
  std::size_t poll_faults(std::span<IommuFault> out);
  // One at a time; null: none. When the call returns nobody is in the one before.
  //
  // Needs:  not called by the listener. It outlives this object, or is replaced.
  void listen_to_faults(IommuFaultListener* listener);
  // Faults so far that found the queue full.
  std::uint64_t lost_faults() const;

  // What the tables of all domains take.
  std::uint64_t table_bytes() const;

 private:
  friend class DmaSpace;
  class State;

  explicit Iommu(IommuOptions options);
  // Lives as long as this object.
  internal::IommuPort* port(IommuDeviceId device);

  std::unique_ptr<State> state_;
};

}  // namespace vm_device

#endif  // VM_DEVICE_IOMMU_H_
