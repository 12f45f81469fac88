// map() and unmap(): pointers for devices, into guest memory or to a copy.
#include <algorithm>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_format.h"
#include "vm_device/dma.h"
#include "vm_device/internal/dma_mappings.h"
#include "vm_device/internal/dma_permission.h"
#include "vm_device/internal/dma_transfer.h"

namespace vm_device {
namespace {

using internal::DmaTransfer;
using internal::HeldMapping;

constexpr DmaAccess access_of(DmaDirection direction) {
  switch (direction) {
    case DmaDirection::kToDevice: return DmaAccess::kRead;
    case DmaDirection::kFromDevice: return DmaAccess::kWrite;
    case DmaDirection::kBoth: break;
  }
  return DmaAccess::kReadWrite;
}

absl::StatusCode code_of(DmaFault fault) {
  switch (fault) {
    case DmaFault::kUnmapped: return absl::StatusCode::kNotFound;
    case DmaFault::kTranslation:
    case DmaFault::kReadOnly:
    case DmaFault::kProtected: return absl::StatusCode::kPermissionDenied;
    default: return absl::StatusCode::kUnavailable;
  }
}

absl::Status status_of(const DmaResult& result, const DmaSegment& range) {
  return absl::Status(
      code_of(result.fault),
      absl::StrFormat("%s at bus address 0x%x, after 0x%x of the 0x%x bytes from 0x%x",
                      std::string(dma_fault_name(result.fault)), result.at, result.done,
                      range.bytes, range.address));
}

absl::Status status_of(const absl::Status& lease, const DmaSegment& range) {
  return absl::Status(lease.code(), absl::StrFormat("0x%x bytes at bus address 0x%x: %s",
                                                    range.bytes, range.address, lease.message()));
}

// Translates all of `range`. `whole` becomes its guest addresses where those follow each
// other, else it has fewer bytes.
DmaResult translate_all(DmaTransfer& transfer, const DmaSegment& range, DmaAccess access,
                        GuestSegment& whole) {
  bool follows = true;
  return transfer.move(range, access,
                       [&](vm_mem::GuestAddress at, std::uint64_t done, std::uint64_t bytes) {
                         if (done == 0) whole.address = at;
                         follows = follows && at == whole.address.offset_by(done);
                         if (follows) whole.bytes = done + bytes;
                         return vm_mem::AccessResult{.done = bytes};
                       });
}

// Whether a copy of `range` could be written back, as far as memory says.
DmaResult judge_all(DmaTransfer& transfer, const vm_mem::MemoryMap& map, const DmaSegment& range) {
  return transfer.move(range, DmaAccess::kWrite,
                       [&](vm_mem::GuestAddress at, std::uint64_t, std::uint64_t bytes) {
                         return internal::permitted(map, at, bytes, DmaAccess::kWrite);
                       });
}

// Leaves `held` without bytes where a lease cannot be had because of what is there.
absl::Status lease_for(vm_mem::MemoryManager& memory, HeldMapping& held, const GuestSegment& whole,
                       std::uint64_t bytes) {
  const auto range = vm_mem::GuestRange::make(whole.address, bytes);
  if (whole.bytes != bytes || !range.has_value()) return absl::OkStatus();
  const bool reads = held.direction() == DmaDirection::kToDevice;
  auto lease =
      memory.lease(*range, reads ? vm_mem::LeaseAccess::kRead : vm_mem::LeaseAccess::kReadWrite,
                   vm_mem::WriteCause::kDma);
  if (absl::IsFailedPrecondition(lease.status())) return absl::OkStatus();
  if (!lease.ok()) return lease.status();
  held.lease = std::move(*lease);
  held.bytes = held.lease.bytes();
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<DmaMapping> DmaSpace::map(std::uint64_t address, std::uint64_t bytes,
                                         DmaDirection direction) {
  const DmaSegment range{address, bytes};
  if (bytes == 0 || bytes - 1 > UINT64_MAX - address) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "0x%x bytes at bus address 0x%x are none, or go past 2^64", bytes, address));
  }
  DmaTransfer transfer(port_, initiator_);
  GuestSegment whole;
  const DmaResult translated = translate_all(transfer, range, access_of(direction), whole);
  if (!translated.ok()) return status_of(translated, range);
  auto held = mappings_->open(address, direction);
  if (held == nullptr) return absl::ResourceExhaustedError("the host has no memory left");
  if (absl::Status status = back(transfer, *held, range, whole); !status.ok()) {
    if (mappings_->take(held)) mappings_->let_go(*held);
    return status;
  }
  return DmaMapping(std::move(held));
}

// Gives `held` its bytes, and keeps them in use at the IOMMU.
absl::Status DmaSpace::back(DmaTransfer& transfer, HeldMapping& held, const DmaSegment& range,
                            const GuestSegment& whole) {
  if (port_ != nullptr) {
    held.epoch = transfer.section().hold();
    if (held.epoch == 0) return absl::ResourceExhaustedError("the host has no memory left");
    held.port = port_;
  }
  if (absl::Status status = lease_for(*memory_, held, whole, range.bytes); !status.ok()) {
    return status_of(status, range);
  }
  if (!held.bytes.empty()) return absl::OkStatus();
  if (held.direction() != DmaDirection::kToDevice) {
    const DmaResult judged = judge_all(transfer, *memory_->map(), range);
    if (!judged.ok()) return status_of(judged, range);
  }
  held.copy = mappings_->make_copy(range.bytes);
  if (held.copy == nullptr) {
    return absl::ResourceExhaustedError(absl::StrFormat(
        "no room for a copy of the 0x%x bytes at bus address 0x%x: 0x%x are possible at a time",
        range.bytes, range.address, kMaxBounceBytes));
  }
  held.bytes = std::span<std::byte>(held.copy.get(), range.bytes);
  if (held.direction() == DmaDirection::kFromDevice) return absl::OkStatus();
  const DmaResult result = read(transfer, range, held.copy.get());
  return result.ok() ? absl::OkStatus() : status_of(result, range);
}

DmaResult DmaSpace::unmap(const DmaMapping& mapping) { return unmap(mapping, UINT64_MAX); }

DmaResult DmaSpace::unmap(const DmaMapping& mapping, std::uint64_t written) {
  const auto& held = mapping.held_;
  if (held == nullptr || !mappings_->take(held)) {
    return {DmaFault::kNotMapped, 0, mapping.address()};
  }
  DmaResult result{.done = held->bytes.size()};
  if (held->direction() != DmaDirection::kToDevice) {
    result.done = std::min(written, result.done);
    if (held->copy != nullptr) {
      result = write(held->address(), held->bytes.first(result.done));
    } else {
      held->lease.mark_dirty(0, result.done).IgnoreError();  // it is for writing, and this long
    }
  }
  mappings_->let_go(*held);
  return result;
}

std::uint64_t DmaSpace::outstanding_maps() const { return mappings_->count(); }

}  // namespace vm_device
