#include "vm_device/iommu.h"

#include <algorithm>
#include <new>
#include <string>

#include "absl/strings/str_format.h"
#include "vm_device/internal/iommu_state.h"
#include "vm_device/internal/without_exceptions.h"

namespace vm_device {
namespace {

using internal::exhausted;
using internal::IommuDomain;
using internal::IommuPort;
using internal::kIommuPageBytes;
using internal::without_exceptions;

constexpr std::uint64_t kMaxFaultQueue = std::uint64_t{1} << 20;
constexpr std::chrono::nanoseconds kLongest = std::chrono::hours(24 * 365);

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
  return exhausted(
      "no memory for the pages of [0x%x, +0x%x): the tables take %u of at most %u nodes of %u "
      "bytes",
      range.address, range.bytes, budget.used.load(), budget.limit,
      std::uint64_t{internal::IommuTable::kNodeBytes});
}

absl::Status check_access(DmaAccess permitted) {
  constexpr auto kAll = static_cast<unsigned>(DmaAccess::kReadWrite);
  const auto bits = static_cast<unsigned>(permitted);
  if (bits != 0 && (bits & ~kAll) == 0) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrFormat("permissions 0x%x: read is 1, write is 2, one at least is needed", bits));
}

// Before it is said that there is no room, that of tables which nobody is in any more is
// made: of all domains.
template <typename State, typename Change>
absl::Status with_room(State& state, Change change) {
  absl::Status status = change();
  if (!absl::IsResourceExhausted(status)) return status;
  state.reclaim();
  return change();
}

absl::Status insert(IommuDomain& domain, const DmaSegment& iova, vm_mem::GuestAddress to,
                    DmaAccess permitted, const internal::IommuNodeBudget& budget) {
  const std::lock_guard lock(domain.mutex());
  internal::IommuTable& table = domain.table();
  if (const auto at = table.first_mapped(iova.address, last_of(iova)); at.has_value()) {
    return absl::AlreadyExistsError(
        absl::StrFormat("0x%x in %s is mapped already", *at, text_of(iova)));
  }
  domain.reclaim();
  if (!table.insert(iova.address, last_of(iova), to.value, permitted)) {
    // DMA may have found the first pages before there was no room for the rest.
    domain.invalidate(iova.address, last_of(iova));
    domain.reclaim();
    return no_memory(iova, budget);
  }
  return absl::OkStatus();
}

enum class Holes : std::uint8_t { kRefused, kPassed };

// Both ends first: after that nothing can fail.
absl::Status erase(IommuDomain& domain, const DmaSegment& iova, Holes holes,
                   const internal::IommuNodeBudget& budget, std::uint64_t& erased) {
  const std::lock_guard lock(domain.mutex());
  const std::uint64_t last = last_of(iova);
  if (holes == Holes::kRefused) {
    const auto hole = domain.table().first_unmapped(iova.address, last);
    if (hole.has_value()) {
      return absl::NotFoundError(absl::StrFormat("0x%x in %s is not mapped", *hole, text_of(iova)));
    }
  }
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
  return without_exceptions([&]() -> absl::StatusOr<std::unique_ptr<Iommu>> {
    if (options.fault_queue == 0 || options.fault_queue > kMaxFaultQueue) {
      return absl::InvalidArgumentError(
          absl::StrFormat("a fault queue of %u records: 1 to %u are possible", options.fault_queue,
                          kMaxFaultQueue));
    }
    try {
      return std::unique_ptr<Iommu>(new Iommu(options));
    } catch (const std::bad_alloc&) {
      return exhausted("the host has no memory left for a fault queue of %u records",
                       options.fault_queue);
    }
  });
}

Iommu::Iommu(IommuOptions options) : state_(std::make_unique<State>(options)) {}
Iommu::~Iommu() = default;

internal::IommuPort* Iommu::port(IommuDeviceId device) { return &state_->port(device); }

absl::StatusOr<IommuDomainId> Iommu::create_domain() {
  return without_exceptions([&] { return state_->create_domain(); });
}
absl::Status Iommu::remove_domain(IommuDomainId domain) {
  return without_exceptions([&] { return state_->remove_domain(domain); });
}
absl::Status Iommu::add_device(IommuDeviceId device) {
  return without_exceptions([&] { return state_->add_device(device); });
}
absl::Status Iommu::remove_device(IommuDeviceId device) {
  return without_exceptions([&] { return state_->retarget(device, IommuPort::Target::kUnknown); });
}
absl::Status Iommu::attach(IommuDeviceId device, IommuDomainId domain) {
  return without_exceptions([&] { return state_->attach(device, domain); });
}
absl::Status Iommu::bypass(IommuDeviceId device) {
  return without_exceptions([&] { return state_->retarget(device, IommuPort::Target::kBypassed); });
}
absl::Status Iommu::detach(IommuDeviceId device) {
  return without_exceptions([&] { return state_->retarget(device, IommuPort::Target::kBlocked); });
}

absl::Status Iommu::map(IommuDomainId domain, DmaSegment iova, vm_mem::GuestAddress to,
                        DmaAccess permitted) {
  return without_exceptions([&]() -> absl::Status {
    absl::Status status = check_range(iova, "the range of IOVAs");
    if (status.ok()) status = check_range({to.value, iova.bytes}, "the guest range");
    if (status.ok()) status = check_access(permitted);
    if (!status.ok()) return status;
    const auto found = state_->domain(domain);
    if (!found.ok()) return found.status();
    return with_room(*state_, [&] { return insert(**found, iova, to, permitted, state_->budget); });
  });
}

absl::Status Iommu::unmap(IommuDomainId domain, DmaSegment iova) {
  return without_exceptions([&]() -> absl::Status {
    absl::Status status = check_range(iova, "the range of IOVAs");
    if (!status.ok()) return status;
    const auto found = state_->domain(domain);
    if (!found.ok()) return found.status();
    std::uint64_t erased = 0;
    return with_room(*state_,
                     [&] { return erase(**found, iova, Holes::kRefused, state_->budget, erased); });
  });
}

absl::StatusOr<std::uint64_t> Iommu::unmap_within(IommuDomainId domain, DmaSegment iova) {
  return without_exceptions([&]() -> absl::StatusOr<std::uint64_t> {
    absl::Status status = check_range(iova, "the range of IOVAs");
    if (!status.ok()) return status;
    const auto found = state_->domain(domain);
    if (!found.ok()) return found.status();
    std::uint64_t erased = 0;
    status = with_room(
        *state_, [&] { return erase(**found, iova, Holes::kPassed, state_->budget, erased); });
    if (!status.ok()) return status;
    return erased;
  });
}

absl::Status Iommu::invalidate(IommuDomainId domain, DmaSegment iova) {
  return without_exceptions([&]() -> absl::Status {
    absl::Status status = check_range(iova, "the range of IOVAs");
    if (!status.ok()) return status;
    const auto found = state_->domain(domain);
    if (!found.ok()) return found.status();
    const std::lock_guard lock((*found)->mutex());
    (*found)->invalidate(iova.address, last_of(iova));
    return absl::OkStatus();
  });
}

absl::Status Iommu::invalidate(IommuDomainId domain) {
  return without_exceptions([&]() -> absl::Status {
    const auto found = state_->domain(domain);
    if (!found.ok()) return found.status();
    const std::lock_guard lock((*found)->mutex());
    (*found)->invalidate(0, UINT64_MAX);
    return absl::OkStatus();
  });
}

absl::Status Iommu::wait_for_dma(std::chrono::nanoseconds timeout) {
  return without_exceptions([&] { return state_->wait_for_dma(std::min(timeout, kLongest)); });
}

IommuTranslation Iommu::translate(IommuDeviceId device, DmaSegment range, DmaAccess access,
                                  std::span<GuestSegment> out) {
  IommuPort unknown(device, state_->epochs, state_->faults);
  IommuPort* const known = state_->find_port(device);
  internal::IommuSection section(known != nullptr ? known : &unknown);
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
