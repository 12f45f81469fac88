// The members of MemoryManager that change the map or ask about regions.
#include <algorithm>
#include <utility>

#include "absl/strings/str_format.h"
#include "vm_mem/host_fault.h"
#include "vm_mem/host_mapping.h"
#include "vm_mem/internal/copy_state.h"
#include "vm_mem/internal/fault_ranges.h"
#include "vm_mem/internal/manager_state.h"
#include "vm_mem/internal/ram_backing.h"
#include "vm_mem/internal/region_text.h"
#include "vm_mem/internal/without_exceptions.h"
#include "vm_mem/memory_manager.h"

namespace vm_mem {
namespace {

using internal::number_of;
using internal::PendingChange;
using internal::Region;
using internal::RegionNode;
using internal::RegionTree;
using internal::without_exceptions;

using MadeNode = absl::StatusOr<RegionNode>;

RegionNode node_of(RegionType type) {
  RegionNode node;
  node.type = type;
  node.region = std::make_shared<Region>();
  return node;
}

// From here on pages that the host fails to provide read as zero. They are mapped as
// the rest is: for reading alone where a shared file is.
absl::Status register_zero_pages(Region& region, const RamOptions& options) {
  const bool huge = options.backing == Backing::kHugetlb;
  const bool only_read = options.backing == Backing::kFile &&
                         options.sharing == FileSharing::kShared &&
                         options.protection != Protection::kReadWrite;
  const std::span memory(region.mapping->bytes().data(), region.capacity);
  absl::Status status =
      internal::register_fault_range(memory, huge ? options.huge_page_bytes : kDirtyPageBytes,
                                     only_read ? Protection::kRead : Protection::kReadWrite);
  if (status.ok()) region.zero_pages = memory;
  return status;
}

// What the region needs so that a failure of the host ends in a result.
absl::Status prepare_for_faults(Region& region, const RamOptions& options, FaultHandler handler) {
  const bool replaces = options.host_fault == HostFaultPolicy::kZeroPage;
  if (!region.recoverable && !replaces) return absl::OkStatus();
  internal::copy_state();  // which recoverable copies take to be ready
  if (handler == FaultHandler::kInstall) {
    if (absl::Status installed = install_host_fault_handler(); !installed.ok()) return installed;
  }
  return replaces ? register_zero_pages(region, options) : absl::OkStatus();
}

MadeNode make_ram(GuestRange range, const RamOptions& options, FaultHandler handler) {
  absl::StatusOr<HostMapping> mapping = internal::map_ram(range.bytes(), options);
  if (!mapping.ok()) return mapping.status();
  RegionNode node = node_of(RegionType::kRam);
  node.protection = options.protection;
  node.dirty_tracking = options.dirty_tracking;
  node.region->mapping = *std::move(mapping);
  node.region->capacity = std::max(range.bytes(), options.max_bytes);
  node.region->recoverable = internal::recovers(options);
  if (absl::Status ready = prepare_for_faults(*node.region, options, handler); !ready.ok()) {
    return ready;
  }
  return node;
}

MadeNode make_rom(GuestRange range, std::span<const std::byte> content) {
  if (content.size() > range.bytes()) {
    return absl::InvalidArgumentError(
        absl::StrFormat("content of 0x%x bytes for a ROM of 0x%x", content.size(), range.bytes()));
  }
  absl::StatusOr<HostMapping> mapping = HostMapping::anonymous(range.bytes());
  if (!mapping.ok()) return mapping.status();
  std::copy(content.begin(), content.end(), mapping->bytes().begin());
  if (absl::Status locked = mapping->make_read_only(); !locked.ok()) return locked;
  RegionNode node = node_of(RegionType::kRom);
  node.protection = Protection::kRead;
  node.region->mapping = *std::move(mapping);
  node.region->capacity = range.bytes();
  return node;
}

MadeNode make_mmio(GuestRange range, MmioHandler* handler) {
  if (handler == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrFormat("no handler for the MMIO region at 0x%x", range.begin().value));
  }
  RegionNode node = node_of(RegionType::kMmio);
  node.region->handler = handler;
  return node;
}

// One edit of the tree alone.
template <typename Edit>
auto on_tree(Edit edit) {
  return [edit](PendingChange& change) -> absl::Status {
    absl::Status status = edit(change.tree);
    change.edited = change.edited || status.ok();
    return status;
  };
}

absl::Status track(RegionTree& tree, RegionId id, DirtyTracking tracking) {
  const auto found = tree.find(id);
  if (!found.ok()) return found.status();
  // Before the tree is edited: there may be no memory for it.
  if (tracking == DirtyTracking::kOn && (*found)->type == RegionType::kRam) {
    (*found)->region->make_dirty_log();
  }
  return tree.set_dirty_tracking(id, tracking);
}

}  // namespace

absl::StatusOr<RegionId> MemoryManager::add_ram(GuestRange range, RamOptions options) {
  return without_exceptions([&] {
    return state_->add(range, {options.priority, options.container}, [&](const RegionTree&) {
      MadeNode node = make_ram(range, options, state_->fault_handler());
      if (node.ok()) state_->prepare_for_writes(*node->region, options);
      return node;
    });
  });
}

absl::StatusOr<RegionId> MemoryManager::add_rom(GuestRange range,
                                                std::span<const std::byte> content,
                                                Placement placement) {
  return without_exceptions([&] {
    return state_->add(range, placement,
                       [&](const RegionTree&) { return make_rom(range, content); });
  });
}

absl::StatusOr<RegionId> MemoryManager::add_mmio(GuestRange range, MmioHandler* handler,
                                                 Placement placement) {
  return without_exceptions([&] {
    return state_->add(range, placement,
                       [&](const RegionTree&) { return make_mmio(range, handler); });
  });
}

absl::StatusOr<RegionId> MemoryManager::add_alias(GuestRange range, RegionId target,
                                                  std::uint64_t offset, Placement placement) {
  return without_exceptions([&] {
    return state_->add(range, placement, [&](const RegionTree& tree) {
      MadeNode node = tree.alias_node(range, target, offset, placement);
      if (node.ok()) node->region = std::make_shared<Region>();
      return node;
    });
  });
}

absl::StatusOr<RegionId> MemoryManager::add_container(GuestRange range, Placement placement) {
  return without_exceptions([&] {
    return state_->add(range, placement,
                       [](const RegionTree&) { return MadeNode(node_of(RegionType::kContainer)); });
  });
}

absl::Status MemoryManager::remove_region(RegionId region, RemovePolicy policy) {
  return without_exceptions([&] { return state_->remove(region, policy); });
}

absl::Status MemoryManager::set_enabled(RegionId region, Enabled enabled) {
  return without_exceptions([&] {
    return state_->change(
        on_tree([=](RegionTree& tree) { return tree.set_enabled(region, enabled); }));
  });
}

absl::Status MemoryManager::set_protection(RegionId region, Protection protection) {
  return without_exceptions([&] {
    return state_->change(
        on_tree([=](RegionTree& tree) { return tree.set_protection(region, protection); }));
  });
}

absl::Status MemoryManager::set_dirty_tracking(RegionId region, DirtyTracking tracking) {
  return without_exceptions([&] {
    return state_->change(on_tree([=](RegionTree& tree) { return track(tree, region, tracking); }));
  });
}

absl::Status MemoryManager::move_region(RegionId region, GuestAddress begin) {
  return without_exceptions([&] {
    return state_->change(on_tree([=](RegionTree& tree) { return tree.move(region, begin); }));
  });
}

absl::Status MemoryManager::resize_region(RegionId region, std::uint64_t bytes) {
  return without_exceptions([&] { return state_->resize(region, bytes); });
}

absl::Status MemoryManager::discard(GuestRange range) {
  return without_exceptions([&] { return state_->discard(range); });
}

absl::Status MemoryManager::change(const std::function<absl::Status()>& edits) {
  return without_exceptions([&] { return state_->batch(edits); });
}

absl::Status MemoryManager::wait_until_unused(RegionId region, std::chrono::nanoseconds timeout) {
  return state_->wait_until_unused(region, timeout);
}

absl::Status MemoryManager::wait_for_readers(std::chrono::nanoseconds timeout) {
  return without_exceptions([&] { return state_->wait_for_readers(timeout); });
}

absl::StatusOr<RegionInfo> MemoryManager::region_info(RegionId region) const {
  const absl::StatusOr<RegionNode> node = state_->find_node(region);
  if (!node.ok()) return node.status();
  return RegionInfo{.region = node->id,
                    .type = node->type,
                    .range = node->range,
                    .placement = node->placement,
                    .enabled = node->enabled,
                    .protection = node->protection,
                    .dirty_tracking = node->dirty_tracking,
                    .target = node->target,
                    .target_offset = node->target_offset,
                    .leases = node->region->leases.load()};
}

absl::StatusOr<int> MemoryManager::region_fd(RegionId region) const {
  const absl::StatusOr<RegionFile> file = region_file(region);
  if (!file.ok()) return file.status();
  return file->fd;
}

absl::StatusOr<RegionFile> MemoryManager::region_file(RegionId region) const {
  const absl::StatusOr<RegionNode> node = state_->find_node(region);
  if (!node.ok()) return node.status();
  const std::optional<HostMapping>& mapping = node->region->mapping;
  if (mapping && mapping->fd() >= 0) {
    return RegionFile{
        .fd = mapping->fd(), .offset = mapping->fd_offset(), .page_bytes = mapping->page_bytes()};
  }
  return absl::FailedPreconditionError(
      absl::StrFormat("region 0x%x is not backed by a memfd", number_of(region)));
}

}  // namespace vm_mem
