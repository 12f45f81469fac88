#include "vm_mem/internal/guest_ram.h"

#include <algorithm>
#include <map>

#include "absl/strings/str_format.h"
#include "vm_mem/internal/manager_state.h"
#include "vm_mem/internal/region_text.h"

namespace vm_mem::internal {
namespace {

using Nodes = std::map<RegionId, const RegionNode*>;

// In the guest's address space, through all containers.
std::uint64_t address_of(const RegionNode& node, const Nodes& nodes) {
  std::uint64_t address = node.range.begin().value;
  for (auto at = nodes.find(node.placement.container); at != nodes.end();
       at = nodes.find(at->second->placement.container)) {
    address += at->second->range.begin().value;
  }
  return address;
}

}  // namespace

std::vector<ByteRun> RamRegion::populated() const {
  if (mapping().is_anonymous()) {
    // Host pages may be larger than the guest's, and are asked about whole.
    std::vector<ByteRun> runs = populated_private(mapping().bytes());
    while (!runs.empty() && runs.back().begin >= memory.size()) runs.pop_back();
    if (!runs.empty()) runs.back().end = std::min<std::uint64_t>(runs.back().end, memory.size());
    return runs;
  }
  if (mapping().fd() >= 0) {
    return populated_file(mapping().fd(), mapping().fd_offset(), memory.size());
  }
  return {{.begin = 0, .end = memory.size()}};
}

absl::StatusOr<GuestRam> GuestRam::of(MemoryManager& memory) {
  const std::vector<RegionNode> all = memory.state_->regions().nodes();
  Nodes nodes;
  for (const RegionNode& node : all) nodes[node.id] = &node;
  GuestRam ram;
  ram.fault_handler_ = memory.state_->fault_handler();
  for (const RegionNode& node : all) {
    if (node.type != RegionType::kRam) continue;
    const std::uint64_t begin = address_of(node, nodes);
    if (!GuestRange::make(GuestAddress{begin}, node.range.bytes())) {
      return absl::InvalidArgumentError(absl::StrFormat(
          "region 0x%x at 0x%x runs past the end of the address space", number_of(node.id), begin));
    }
    ram.regions_.push_back({.id = node.id,
                            .entry = {.begin = begin, .bytes = node.range.bytes()},
                            .region = node.region,
                            .memory = node.region->mapping->bytes().first(node.range.bytes()),
                            .tracked = node.dirty_tracking == DirtyTracking::kOn});
  }
  std::ranges::sort(ram.regions_, {}, [](const RamRegion& region) { return region.entry.begin; });
  std::vector<RegionEntry> entries = ram.entries();
  if (absl::Status numbered = number_pages(entries); !numbered.ok()) return numbered;
  for (std::size_t i = 0; i < entries.size(); ++i) ram.regions_[i].entry = entries[i];
  ram.page_count_ = page_count_of(entries);
  return ram;
}

std::vector<RegionEntry> GuestRam::entries() const {
  std::vector<RegionEntry> entries;
  for (const RamRegion& region : regions_) entries.push_back(region.entry);
  return entries;
}

const RamRegion& GuestRam::region_of(std::uint64_t page) const {
  const auto after = std::ranges::upper_bound(
      regions_, page, {}, [](const RamRegion& region) { return region.entry.first_page; });
  return *std::prev(after);
}

absl::StatusOr<std::uint32_t> GuestRam::page_at(GuestAddress address) const {
  const auto after = std::ranges::upper_bound(
      regions_, address.value, {}, [](const RamRegion& region) { return region.entry.begin; });
  if (after != regions_.begin()) {
    const RegionEntry& entry = std::prev(after)->entry;
    const std::uint64_t offset = address.value - entry.begin;
    if (offset < entry.bytes) {
      return static_cast<std::uint32_t>(entry.first_page + offset / kSnapshotPageBytes);
    }
  }
  return absl::InvalidArgumentError(
      absl::StrFormat("the working set has 0x%x, which is not in RAM", address.value));
}

absl::Status GuestRam::check_unleased() const {
  for (const RamRegion& region : regions_) {
    const std::uint64_t leases = region.region->leases.load();
    if (leases == 0) continue;
    return absl::UnavailableError(
        absl::StrFormat("region 0x%x at 0x%x is held by %u leases, whose holders may write: let "
                        "their I/O end first, or vouch for them by SnapshotLeases::kIgnore",
                        number_of(region.id), region.entry.begin, leases));
  }
  return absl::OkStatus();
}

absl::Status GuestRam::check_complete() const {
  for (const RamRegion& region : regions_) {
    if (!region.region->absent.is_bringing()) continue;
    return absl::FailedPreconditionError(
        absl::StrFormat("region 0x%x at 0x%x is being restored lazily, and pages are absent: "
                        "LazyRestore::finish() first, or end that restore",
                        number_of(region.id), region.entry.begin));
  }
  return absl::OkStatus();
}

absl::Status GuestRam::check_writable() const {
  for (const RamRegion& region : regions_) {
    if (region.mapping().writable()) continue;
    return absl::PermissionDeniedError(
        absl::StrFormat("region 0x%x at 0x%x is mapped without the right to write: add it with "
                        "Protection::kReadWrite, and take that away after the restore",
                        number_of(region.id), region.entry.begin));
  }
  return absl::OkStatus();
}

}  // namespace vm_mem::internal
