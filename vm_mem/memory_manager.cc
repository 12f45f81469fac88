#include "vm_mem/memory_manager.h"

#include <algorithm>
#include <new>
#include <utility>

#include "absl/strings/str_format.h"
#include "vm_mem/host_mapping.h"
#include "vm_mem/internal/access_engine.h"
#include "vm_mem/internal/manager_state.h"
#include "vm_mem/internal/ram_backing.h"
#include "vm_mem/internal/word_access.h"

namespace vm_mem {
namespace {

using internal::Region;

using MadeRegion = absl::StatusOr<std::shared_ptr<Region>>;
using Pin = internal::MapPublisher::Pin;

std::uint64_t number_of(RegionId id) { return static_cast<std::uint64_t>(id); }

MadeRegion make_ram(GuestRange range, const RamOptions& options) {
  absl::StatusOr<HostMapping> mapping = internal::map_ram(range.bytes(), options);
  if (!mapping.ok()) return mapping.status();
  auto region = std::make_shared<Region>();
  region->kind = RegionKind::kRam;
  region->mapping = *std::move(mapping);
  if (options.dirty_tracking == DirtyTracking::kOn) {
    region->dirty_log = std::make_unique<DirtyLog>(range.bytes());
  }
  return region;
}

MadeRegion make_rom(GuestRange range, std::span<const std::byte> content) {
  if (content.size() > range.bytes()) {
    return absl::InvalidArgumentError(
        absl::StrFormat("content of 0x%x bytes for a ROM of 0x%x", content.size(), range.bytes()));
  }
  absl::StatusOr<HostMapping> mapping = HostMapping::anonymous(range.bytes());
  if (!mapping.ok()) return mapping.status();
  std::copy(content.begin(), content.end(), mapping->bytes().begin());
  if (absl::Status locked = mapping->make_read_only(); !locked.ok()) return locked;
  auto region = std::make_shared<Region>();
  region->kind = RegionKind::kRom;
  region->mapping = *std::move(mapping);
  return region;
}

MadeRegion make_mmio(GuestRange range, MmioHandler* handler) {
  if (handler == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrFormat("no handler for the MMIO region at 0x%x", range.begin().value));
  }
  auto region = std::make_shared<Region>();
  region->kind = RegionKind::kMmio;
  region->handler = handler;
  return region;
}

// An alias of an alias shows what that one shows: chains do not form.
MadeRegion make_alias(GuestRange range, const std::shared_ptr<const Region>& target,
                      std::uint64_t offset) {
  if (target->kind == RegionKind::kMmio) {
    return absl::InvalidArgumentError(
        absl::StrFormat("region 0x%x is MMIO: it has no alias", number_of(target->id)));
  }
  const std::uint64_t available = target->range.bytes();
  if (offset % kDirtyPageBytes != 0 || offset > available || range.bytes() > available - offset) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "an alias of 0x%x bytes at offset 0x%x of region 0x%x, which has 0x%x bytes, must lie "
        "inside it, at a multiple of 0x%x",
        range.bytes(), offset, number_of(target->id), available, kDirtyPageBytes));
  }
  auto region = std::make_shared<Region>();
  region->kind = target->kind;
  region->target = target->target == nullptr ? target : target->target;
  region->target_offset = target->target_offset + offset;
  return region;
}

// Set-up allocates; that the host has no memory left is a result like any other.
template <typename Call>
auto without_exceptions(Call call) -> decltype(call()) {
  try {
    return call();
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError("the host has no memory left: errno 12");
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<MemoryManager>> MemoryManager::create(MemoryManagerOptions options) {
  return without_exceptions([&]() -> absl::StatusOr<std::unique_ptr<MemoryManager>> {
    return std::unique_ptr<MemoryManager>(new MemoryManager(options));
  });
}

MemoryManager::MemoryManager(MemoryManagerOptions options)
    : state_(std::make_unique<State>(options, generation_)) {}

MemoryManager::~MemoryManager() = default;

absl::StatusOr<RegionId> MemoryManager::add_ram(GuestRange range, RamOptions options) {
  return without_exceptions(
      [&] { return state_->add(range, [&] { return make_ram(range, options); }); });
}

absl::StatusOr<RegionId> MemoryManager::add_rom(GuestRange range,
                                                std::span<const std::byte> content) {
  return without_exceptions(
      [&] { return state_->add(range, [&] { return make_rom(range, content); }); });
}

absl::StatusOr<RegionId> MemoryManager::add_mmio(GuestRange range, MmioHandler* handler) {
  return without_exceptions(
      [&] { return state_->add(range, [&] { return make_mmio(range, handler); }); });
}

absl::StatusOr<RegionId> MemoryManager::add_alias(GuestRange range, RegionId target,
                                                  std::uint64_t offset) {
  return without_exceptions([&] {
    return state_->add(range, [&]() -> MadeRegion {
      const auto shown = state_->regions().find(target);
      if (!shown.ok()) return shown.status();
      return make_alias(range, *shown, offset);
    });
  });
}

absl::Status MemoryManager::remove_region(RegionId region, RemovePolicy policy) {
  return without_exceptions([&]() -> absl::Status {
    const auto departure = state_->remove(region);
    if (!departure.ok()) return departure.status();
    if (policy == RemovePolicy::kWait) (*departure)->wait();
    return absl::OkStatus();
  });
}

std::shared_ptr<const MemoryMap> MemoryManager::map() const { return state_->maps().current(); }

absl::StatusOr<int> MemoryManager::region_fd(RegionId region) const {
  const auto found = state_->regions().find(region);
  if (!found.ok()) return found.status();
  if (!(*found)->mapping || (*found)->mapping->fd() < 0) {
    return absl::FailedPreconditionError(
        absl::StrFormat("region 0x%x is not backed by a memfd", number_of(region)));
  }
  return (*found)->mapping->fd();
}

absl::StatusOr<std::uint64_t> MemoryManager::dirty_page_count(RegionId region) const {
  const auto found = state_->regions().find(region);
  if (!found.ok()) return found.status();
  if ((*found)->dirty_log == nullptr) {
    return absl::FailedPreconditionError(
        absl::StrFormat("writes to region 0x%x are not tracked", number_of(region)));
  }
  return (*found)->dirty_log->dirty_page_count();
}

void MemoryManager::add_listener(MemoryListener* listener) { state_->add_listener(listener); }

void MemoryManager::remove_listener(MemoryListener* listener) { state_->remove_listener(listener); }

AccessResult MemoryManager::read(GuestAddress from, std::span<std::byte> to, Route route) const {
  const Pin pin(state_->maps());
  return counted(internal::read_memory(pin.map(), from, to), route);
}

AccessResult MemoryManager::write(GuestAddress to, std::span<const std::byte> from, Route route) {
  const Pin pin(state_->maps());
  return counted(internal::write_memory(pin.map(), to, from), route);
}

AccessResult MemoryManager::copy_block(GuestAddress to, GuestAddress from, std::uint64_t bytes,
                                       Route route) {
  const Pin pin(state_->maps());
  return counted(internal::copy_memory(pin.map(), to, from, bytes), route);
}

AccessResult MemoryManager::fill_block(GuestAddress to, std::byte value, std::uint64_t bytes,
                                       Route route) {
  const Pin pin(state_->maps());
  return counted(internal::fill_memory(pin.map(), to, value, bytes), route);
}

AccessResult MemoryManager::compare_block(GuestAddress a, GuestAddress b, std::uint64_t bytes,
                                          int& order, Route route) const {
  const Pin pin(state_->maps());
  return counted(internal::compare_memory(pin.map(), a, b, bytes, order), route);
}

AccessResult MemoryManager::load_bits(GuestAddress from, unsigned bytes, std::uint64_t& bits,
                                      std::memory_order order) const {
  const Pin pin(state_->maps());
  return internal::load_word(pin.map(), from, bytes, bits, order);
}

AccessResult MemoryManager::store_bits(GuestAddress to, unsigned bytes, std::uint64_t bits,
                                       std::memory_order order) {
  const Pin pin(state_->maps());
  return internal::store_word(pin.map(), to, bytes, bits, order);
}

AccessResult MemoryManager::modify_bits(GuestAddress at, unsigned bytes, WordOperation operation,
                                        std::uint64_t operand, std::uint64_t& previous,
                                        std::memory_order) {
  const Pin pin(state_->maps());
  return internal::modify_word(pin.map(), at, bytes, operation, operand, previous);
}

AccessResult MemoryManager::compare_exchange_bits(GuestAddress at, unsigned bytes,
                                                  std::uint64_t& expected, std::uint64_t desired,
                                                  bool& exchanged, std::memory_order) {
  const Pin pin(state_->maps());
  return internal::compare_exchange_word(pin.map(), at, bytes, expected, desired, exchanged);
}

Statistics MemoryManager::statistics() const {
  Statistics sum = state_->statistics().sum();
  state_->readers().add_counts_to(sum);
  return sum;
}

AccessResult MemoryManager::counted(const AccessResult& result, Route route) const {
  state_->statistics().add(route, result.done);
  return result;
}

}  // namespace vm_mem
