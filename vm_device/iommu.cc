#include "vm_device/iommu.h"

#include <new>
#include <string>
#include <thread>

#include "absl/strings/str_format.h"
#include "vm_device/internal/iommu_state.h"

namespace vm_device {
namespace {

using internal::IommuDomain;
using internal::IommuPort;
using internal::kIommuPageBytes;

constexpr std::uint64_t kMaxFaultQueue = std::uint64_t{1} << 20;

std::string text_of(const DmaSegment& range) {
  return absl::StrFormat("[0x%x, +0x%x)", range.address, range.bytes);
}

absl::Status check_range(const DmaSegment& range, const char* what) {
  if (range.bytes == 0) {
    return absl::InvalidArgumentError(absl::StrFormat("%s at 0x%x is empty", what, range.address));
  }
  if ((range.address | range.bytes) % kIommuPageBytes != 0) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%s %s is not in whole pages of 4096 bytes", what, text_of(range)));
  }
  if (range.bytes - 1 > UINT64_MAX - range.address) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%s %s goes past 2^64", what, text_of(range)));
  }
  return absl::OkStatus();
}

std::uint64_t last_of(const DmaSegment& range) { return range.address + (range.bytes - 1); }

absl::Status no_memory(const DmaSegment& range, const internal::IommuNodeBudget& budget) {
  return absl::ResourceExhaustedError(absl::StrFormat(
      "no memory for the pages of %s: the tables take %u of at most %u nodes of %u bytes",
      text_of(range), budget.used.load(), budget.limit, internal::IommuTable::kNodeBytes));
}

// Both ends first: after that nothing can fail.
absl::Status erase(IommuDomain& domain, const DmaSegment& iova,
                   const internal::IommuNodeBudget& budget, std::uint64_t& erased) {
  const std::uint64_t last = last_of(iova);
  internal::IommuTable& table = domain.table();
  if (!table.split_at(iova.address) || (last != UINT64_MAX && !table.split_at(last + 1))) {
    return no_memory(iova, budget);
  }
  erased = table.erase(iova.address, last);
  domain.invalidate(iova.address, last);
  domain.reclaim();
  return absl::OkStatus();
}

}  // namespace

std::string_view iommu_fault_reason_name(IommuFaultReason reason) {
  switch (reason) {
    case IommuFaultReason::kUnknownDevice: return "kUnknownDevice";
    case IommuFaultReason::kNoDomain: return "kNoDomain";
    case IommuFaultReason::kUnmapped: return "kUnmapped";
    case IommuFaultReason::kForbidden: return "kForbidden";
  }
  return "unknown";
}

absl::StatusOr<std::unique_ptr<Iommu>> Iommu::create(IommuOptions options) {
  if (options.fault_queue == 0 || options.fault_queue > kMaxFaultQueue) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "a fault queue of %u records: 1 to %u are possible", options.fault_queue, kMaxFaultQueue));
  }
  try {
    return std::unique_ptr<Iommu>(new Iommu(options));
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError(absl::StrFormat(
        "the host has no memory left for a fault queue of %u records", options.fault_queue));
  }
}

Iommu::Iommu(IommuOptions options) : state_(std::make_unique<State>(options)) {}
Iommu::~Iommu() = default;

internal::IommuPort* Iommu::port(IommuDeviceId device) { return &state_->port(device); }

absl::StatusOr<IommuDomainId> Iommu::create_domain() { return state_->create_domain(); }
absl::Status Iommu::remove_domain(IommuDomainId domain) { return state_->remove_domain(domain); }
absl::Status Iommu::add_device(IommuDeviceId device) { return state_->add_device(device); }
absl::Status Iommu::remove_device(IommuDeviceId device) {
  return state_->retarget(device, IommuPort::Target::kUnknown);
}
absl::Status Iommu::attach(IommuDeviceId device, IommuDomainId domain) {
  return state_->attach(device, domain);
}
absl::Status Iommu::bypass(IommuDeviceId device) {
  return state_->retarget(device, IommuPort::Target::kBypassed);
}
absl::Status Iommu::detach(IommuDeviceId device) {
  return state_->retarget(device, IommuPort::Target::kBlocked);
}

absl::Status Iommu::map(IommuDomainId domain, DmaSegment iova, vm_mem::GuestAddress to,
                        DmaAccess permitted) {
  if (absl::Status status = check_range(iova, "the range of IOVAs"); !status.ok()) return status;
  if (absl::Status status = check_range({to.value, iova.bytes}, "the guest range"); !status.ok()) {
    return status;
  }
  const auto found = state_->domain(domain);
  if (!found.ok()) return found.status();
  const std::lock_guard lock((*found)->mutex());
  internal::IommuTable& table = (*found)->table();
  if (const auto at = table.first_mapped(iova.address, last_of(iova)); at.has_value()) {
    return absl::AlreadyExistsError(
        absl::StrFormat("0x%x in %s is mapped already", *at, text_of(iova)));
  }
  (*found)->reclaim();
  if (!table.insert(iova.address, last_of(iova), to.value, permitted)) {
    // DMA may have found the first pages before there was no room for the rest.
    (*found)->invalidate(iova.address, last_of(iova));
    (*found)->reclaim();
    return no_memory(iova, state_->budget);
  }
  return absl::OkStatus();
}

absl::Status Iommu::unmap(IommuDomainId domain, DmaSegment iova) {
  if (absl::Status status = check_range(iova, "the range of IOVAs"); !status.ok()) return status;
  const auto found = state_->domain(domain);
  if (!found.ok()) return found.status();
  const std::lock_guard lock((*found)->mutex());
  const auto hole = (*found)->table().first_unmapped(iova.address, last_of(iova));
  if (hole.has_value()) {
    return absl::NotFoundError(absl::StrFormat("0x%x in %s is not mapped", *hole, text_of(iova)));
  }
  std::uint64_t erased = 0;
  return erase(**found, iova, state_->budget, erased);
}

absl::StatusOr<std::uint64_t> Iommu::unmap_within(IommuDomainId domain, DmaSegment iova) {
  if (absl::Status status = check_range(iova, "the range of IOVAs"); !status.ok()) return status;
  const auto found = state_->domain(domain);
  if (!found.ok()) return found.status();
  const std::lock_guard lock((*found)->mutex());
  std::uint64_t erased = 0;
  if (absl::Status status = erase(**found, iova, state_->budget, erased); !status.ok()) {
    return status;
  }
  return erased;
}

absl::Status Iommu::invalidate(IommuDomainId domain, DmaSegment iova) {
  if (absl::Status status = check_range(iova, "the range of IOVAs"); !status.ok()) return status;
  const auto found = state_->domain(domain);
  if (!found.ok()) return found.status();
  const std::lock_guard lock((*found)->mutex());
  (*found)->invalidate(iova.address, last_of(iova));
  return absl::OkStatus();
}

absl::Status Iommu::invalidate(IommuDomainId domain) {
  const auto found = state_->domain(domain);
  if (!found.ok()) return found.status();
  const std::lock_guard lock((*found)->mutex());
  (*found)->invalidate(0, UINT64_MAX);
  return absl::OkStatus();
}

// Polled: the good path of DMA then has nobody to wake.
absl::Status Iommu::wait_for_dma(std::chrono::nanoseconds timeout) {
  constexpr auto kPause = std::chrono::microseconds(20);
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  const internal::IommuThread* const self = state_->epochs.thread();
  if (self != nullptr && self->depth > 0) {
    return absl::FailedPreconditionError("this thread is in DMA itself: it would wait for itself");
  }
  const std::uint64_t epoch = state_->epochs.advance();
  if (!state_->epochs.settle()) {
    return absl::UnavailableError("the host refuses a barrier on the threads of this process");
  }
  for (;;) {
    const auto users = state_->epochs.users_before(epoch);
    if (users.threads == 0 && users.mappings == 0) return absl::OkStatus();
    if (std::chrono::steady_clock::now() >= deadline) {
      return absl::DeadlineExceededError(
          absl::StrFormat("%u threads in DMA and %u mappings that are not unmapped are left",
                          users.threads, users.mappings));
    }
    std::this_thread::sleep_for(kPause);
  }
}

IommuTranslation Iommu::translate(IommuDeviceId device, DmaSegment range, DmaAccess access,
                                  std::span<GuestSegment> out) {
  internal::IommuSection section(port(device));
  IommuTranslation result;
  while (result.done < range.bytes) {
    const std::uint64_t at = range.address + result.done;
    GuestSegment* const before = result.segments > 0 ? &out[result.segments - 1] : nullptr;
    if (before == nullptr && out.empty()) return result;
    const GuestSegment next = section.next(range, result.done, access);
    if (next.bytes == 0) {
      result.fault = DmaFault::kTranslation;
      result.at = at;
      return result;
    }
    if (before != nullptr && before->address.value + before->bytes == next.address.value) {
      before->bytes += next.bytes;
    } else if (result.segments == out.size()) {
      return result;
    } else {
      out[result.segments++] = next;
    }
    result.done += next.bytes;
  }
  return result;
}

std::size_t Iommu::poll_faults(std::span<IommuFault> out) { return state_->faults.poll(out); }
void Iommu::listen_to_faults(IommuFaultListener* listener) { state_->faults.listen(listener); }
std::uint64_t Iommu::lost_faults() const { return state_->faults.lost(); }
std::uint64_t Iommu::table_bytes() const {
  return state_->budget.used.load(std::memory_order_relaxed) * internal::IommuTable::kNodeBytes;
}

}  // namespace vm_device
