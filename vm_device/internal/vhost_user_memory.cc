#include "vm_device/internal/vhost_user_memory.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_format.h"
#include "vm_device/internal/foreign_bytes.h"
#include "vm_device/internal/vhost_user_protocol.h"

namespace vm_device::internal {
namespace {

using vm_mem::GuestAddress;
using vm_mem::GuestRange;

bool overlap(std::uint64_t a, std::uint64_t a_bytes, std::uint64_t b, std::uint64_t b_bytes) {
  return a < b ? b - a < a_bytes : a - b < b_bytes;
}

}  // namespace

VhostUserRegion VhostUserRegion::decode(const std::byte* from) {
  VhostUserRegion region;
  static_assert(sizeof region == kVhostRegionBytes);
  std::memcpy(&region, from, sizeof region);
  return region;
}

absl::StatusOr<VhostUserMemory::Slot> VhostUserMemory::described(const VhostUserRegion& region,
                                                                 const OwnedFd& fd) const {
  struct stat about = {};
  if (::fstat(fd.get(), &about) != 0) {
    return absl::InvalidArgumentError(absl::StrFormat("fstat: %s", std::strerror(errno)));
  }
  if (region.bytes > UINT64_MAX - region.user || region.bytes > UINT64_MAX - region.file_offset) {
    return absl::InvalidArgumentError(
        absl::StrFormat("0x%x bytes at 0x%x of the front end, from 0x%x of the file on, wrap",
                        region.bytes, region.user, region.file_offset));
  }
  return Slot{.region = region, .device = about.st_dev, .inode = about.st_ino, .id = {}};
}

absl::Status VhostUserMemory::check_apart(const Slot& slot, std::span<const Slot> others) {
  const VhostUserRegion& region = slot.region;
  for (const Slot& other : others) {
    if (overlap(other.region.user, other.region.bytes, region.user, region.bytes)) {
      return absl::InvalidArgumentError(
          absl::StrFormat("0x%x bytes at 0x%x of the front end overlap those at 0x%x", region.bytes,
                          region.user, other.region.user));
    }
  }
  return absl::OkStatus();
}

absl::Status VhostUserMemory::map(Slot& slot, const OwnedFd& fd) {
  const VhostUserRegion& region = slot.region;
  const auto range = GuestRange::make(GuestAddress{region.guest}, region.bytes);
  if (!range) {
    return absl::InvalidArgumentError(
        absl::StrFormat("0x%x bytes at 0x%x wrap", region.bytes, region.guest));
  }
  const auto id = memory_.add_ram(*range, {.backing = vm_mem::Backing::kFile,
                                           .dirty_tracking = vm_mem::DirtyTracking::kOn,
                                           .fault_recovery = recovery_for(fd.get()),
                                           .fd = fd.get(),
                                           .file_offset = region.file_offset});
  if (!id.ok()) return id.status();
  slot.id = *id;
  return absl::OkStatus();
}

// Their leases are those of DMA, which ends.
void VhostUserMemory::drop(std::span<const Slot> slots) {
  reader_.park();
  for (const Slot& slot : slots) {
    static_cast<void>(memory_.remove_region(slot.id, vm_mem::RemovePolicy::kWait));
  }
}

absl::Status VhostUserMemory::set_table(std::span<const VhostUserRegion> regions,
                                        std::span<const OwnedFd> fds) {
  std::vector<Slot> table;
  for (std::size_t i = 0; i < regions.size(); ++i) {
    auto slot = described(regions[i], fds[i]);
    if (!slot.ok()) return slot.status();
    if (const absl::Status apart = check_apart(*slot, table); !apart.ok()) return apart;
    table.push_back(*slot);
  }
  const auto is_same = [](const Slot& a, const Slot& b) {
    return a.region == b.region && a.device == b.device && a.inode == b.inode;
  };
  reader_.park();
  const absl::Status changed = memory_.change([&]() -> absl::Status {
    for (const Slot& old : slots_) {
      const auto kept = std::find_if(table.begin(), table.end(),
                                     [&](const Slot& slot) { return is_same(slot, old); });
      if (kept != table.end()) {
        kept->id = old.id;
        continue;
      }
      const absl::Status removed = memory_.remove_region(old.id, vm_mem::RemovePolicy::kWait);
      if (!removed.ok()) return removed;
    }
    for (std::size_t i = 0; i < table.size(); ++i) {
      if (table[i].id != vm_mem::RegionId{}) continue;
      if (const absl::Status mapped = map(table[i], fds[i]); !mapped.ok()) return mapped;
    }
    return absl::OkStatus();
  });
  if (changed.ok()) slots_ = std::move(table);
  return changed;
}

absl::Status VhostUserMemory::add(const VhostUserRegion& region, const OwnedFd& fd) {
  auto slot = described(region, fd);
  if (!slot.ok()) return slot.status();
  if (slots_.size() >= kMaxMemSlots) {
    return absl::ResourceExhaustedError(
        absl::StrFormat("%d regions are there already", slots_.size()));
  }
  if (const absl::Status apart = check_apart(*slot, slots_); !apart.ok()) return apart;
  if (const absl::Status mapped = map(*slot, fd); !mapped.ok()) return mapped;
  slots_.push_back(*slot);
  return absl::OkStatus();
}

// Front ends differ in what they say of the file.
absl::Status VhostUserMemory::remove(const VhostUserRegion& region) {
  const auto found = std::find_if(slots_.begin(), slots_.end(), [&](const Slot& slot) {
    return slot.region.guest == region.guest && slot.region.bytes == region.bytes &&
           slot.region.user == region.user;
  });
  if (found == slots_.end()) {
    return absl::NotFoundError(
        absl::StrFormat("no region of 0x%x bytes at 0x%x, 0x%x of the front end", region.bytes,
                        region.guest, region.user));
  }
  drop({&*found, 1});
  slots_.erase(found);
  return absl::OkStatus();
}

void VhostUserMemory::clear() { drop(std::exchange(slots_, {})); }

GuestSegment VhostUserMemory::guest_run(std::uint64_t user, std::uint64_t bytes) const {
  for (const auto& [region, device, inode, id] : slots_) {
    const std::uint64_t offset = user - region.user;
    if (offset >= region.bytes) continue;
    return {GuestAddress{region.guest + offset}, std::min(bytes, region.bytes - offset)};
  }
  return {};
}

std::optional<std::uint64_t> VhostUserMemory::guest_address(std::uint64_t user,
                                                            std::uint64_t bytes) const {
  const GuestSegment run = guest_run(user, bytes);
  if (run.bytes == 0 || run.bytes != bytes) return std::nullopt;
  return run.address.value;
}

std::optional<std::uint64_t> VhostUserMemory::guest_begin(vm_mem::RegionId region) const {
  for (const Slot& slot : slots_) {
    if (slot.id == region) return slot.region.guest;
  }
  return std::nullopt;
}

}  // namespace vm_device::internal
