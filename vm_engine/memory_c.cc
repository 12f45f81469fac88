#include "vm_engine/memory_c.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <string_view>

#include "absl/strings/str_format.h"
#include "vm_engine/engine.h"
#include "vm_engine/internal/attached_thread.h"
#include "vm_engine/internal/c_results.h"
#include "vm_mem/memory_manager.h"

namespace {

using vm_engine::internal::as_rc;
using vm_engine::internal::rc_of_call;
using vm_mem::AccessFault;
using vm_mem::GuestAddress;
using vm_mem::GuestRange;
using vm_mem::MapSection;
using vm_mem::RegionId;
using vm_mem::RegionKind;

constexpr std::chrono::seconds kPatience{1};

class CDevice final : public vm_mem::MmioHandler {
 public:
  CDevice(const vme_device_ops& ops, void* opaque) : ops_(ops), opaque_(opaque) {}

  AccessFault mmio_read(std::uint64_t offset, unsigned size, std::uint64_t& value) override {
    return fault_of(ops_.read(opaque_, offset, size, &value));
  }
  AccessFault mmio_write(std::uint64_t offset, unsigned size, std::uint64_t value) override {
    return fault_of(ops_.write(opaque_, offset, size, value));
  }

 private:
  static AccessFault fault_of(std::uint32_t rc) {
    if (rc == VME_OK) return AccessFault::kNone;
    return rc == VME_PROT ? AccessFault::kProtected : AccessFault::kDevice;
  }
  const vme_device_ops ops_;
  void* const opaque_;
};

// A device and the region that it serves.
struct Slot {
  RegionId region{};
  CDevice device;
};

std::uint32_t why_of(AccessFault fault) {
  switch (fault) {
    case AccessFault::kNone: return VME_OK;
    case AccessFault::kUnmapped: return VME_UNMAPPED;
    case AccessFault::kReadOnly:
    case AccessFault::kProtected: return VME_PROT;
    case AccessFault::kHostFault: return VME_BUS;
    default: return VME_MMIO;
  }
}

std::uint64_t left_of(const vm_mem::AccessResult& result, std::uint64_t n, std::uint32_t* why) {
  if (why != nullptr) *why = why_of(result.fault);
  return n - result.done;
}

std::uint64_t refused(std::uint64_t n, std::uint32_t* why) {
  if (why != nullptr) *why = VME_EINVAL;
  return n;
}

}  // namespace

struct vme_memory {
  // Adds a region by `call`, which is given its range.
  template <typename Call>
  vme_rc add(std::uint64_t gpa, std::uint64_t bytes, std::uint64_t* id, Call call) {
    return rc_of_call([&] {
      const std::optional<GuestRange> range = GuestRange::make(GuestAddress{gpa}, bytes);
      if (!range)
        return note(absl::InvalidArgumentError(
            absl::StrFormat("0x%x bytes at 0x%x wrap around, or are none", bytes, gpa)));
      const absl::StatusOr<RegionId> added = call(*range);
      if (added.ok() && id != nullptr) *id = static_cast<std::uint64_t>(*added);
      return note(added.status());
    });
  }
  absl::StatusOr<RegionId> add_device(GuestRange range, const vme_device_ops& ops, void* opaque);
  void drop_device(RegionId region);
  vme_rc note(const absl::Status& status);

  std::mutex mutex;
  std::array<char, 256> words{};  // of the latest error
  std::size_t all_words = 0;
  // They outlive the regions that they serve.
  std::list<Slot> devices;
  std::unique_ptr<vm_mem::MemoryManager> manager;
};

vme_rc vme_memory::note(const absl::Status& status) {
  if (status.ok()) return VME_OK;
  const std::string_view message(status.message().data(), status.message().size());
  const std::lock_guard lock(mutex);
  all_words = vm_engine::internal::put_words(message, words.data(), words.size());
  return as_rc(status);
}

// The slot first: nothing may fail once the map has the device.
absl::StatusOr<RegionId> vme_memory::add_device(GuestRange range, const vme_device_ops& ops,
                                                void* opaque) {
  std::list<Slot> made;
  made.push_back({.region = {}, .device = CDevice(ops, opaque)});
  absl::StatusOr<RegionId> added = manager->add_mmio(range, &made.front().device);
  if (!added.ok()) return added;
  made.front().region = *added;
  const std::lock_guard lock(mutex);
  devices.splice(devices.end(), made);
  return added;
}

void vme_memory::drop_device(RegionId region) {
  const std::lock_guard lock(mutex);
  devices.remove_if([&](const Slot& slot) { return slot.region == region; });
}

vme_rc vme_memory_create(uint32_t flags, vme_memory** out) {
  if (flags != 0 || out == nullptr) return VME_EINVAL;
  return rc_of_call([&] {
    auto made = std::make_unique<vme_memory>();
    auto manager = vm_mem::MemoryManager::create({});
    if (!manager.ok()) return as_rc(manager.status());
    made->manager = *std::move(manager);
    *out = made.release();
    return VME_OK;
  });
}

void vme_memory_destroy(vme_memory* memory) { delete memory; }

uint64_t vme_memory_error(vme_memory* memory, char* text, uint64_t bytes) {
  if (memory == nullptr) return 0;
  const std::lock_guard lock(memory->mutex);
  const std::size_t kept = std::min(memory->all_words, memory->words.size() - 1);
  vm_engine::internal::put_words({memory->words.data(), kept}, text, bytes);
  return kept;
}

vme_rc vme_memory_add_ram(vme_memory* memory, uint64_t gpa, uint64_t bytes, uint32_t flags,
                          uint64_t* id) {
  if (memory == nullptr || (flags & ~std::uint32_t{VME_RAM_CODE_WATCH}) != 0) return VME_EINVAL;
  return memory->add(gpa, bytes, id, [&](GuestRange range) {
    vm_mem::RamOptions options;
    options.backing = vm_mem::Backing::kMemfd;
    if ((flags & VME_RAM_CODE_WATCH) != 0) options.code_watch = vm_mem::CodeWatching::kOn;
    return memory->manager->add_ram(range, options);
  });
}

vme_rc vme_memory_add_rom(vme_memory* memory, uint64_t gpa, uint64_t bytes, const void* content,
                          uint64_t n, uint64_t* id) {
  if (memory == nullptr || (content == nullptr && n != 0)) return VME_EINVAL;
  return memory->add(gpa, bytes, id, [&](GuestRange range) {
    return memory->manager->add_rom(range, {static_cast<const std::byte*>(content), n});
  });
}

vme_rc vme_memory_add_alias(vme_memory* memory, uint64_t gpa, uint64_t bytes, uint64_t of,
                            uint64_t offset, uint64_t* id) {
  if (memory == nullptr) return VME_EINVAL;
  return memory->add(gpa, bytes, id, [&](GuestRange range) {
    return memory->manager->add_alias(range, RegionId{of}, offset);
  });
}

vme_rc vme_memory_add_device(vme_memory* memory, uint64_t gpa, uint64_t bytes,
                             const vme_device_ops* ops, void* opaque, uint64_t* id) {
  if (memory == nullptr || ops == nullptr || ops->read == nullptr || ops->write == nullptr) {
    return VME_EINVAL;
  }
  return memory->add(gpa, bytes, id,
                     [&](GuestRange range) { return memory->add_device(range, *ops, opaque); });
}

// A region that a call before has taken out of the map is waited for again.
vme_rc vme_memory_remove(vme_memory* memory, uint64_t id) {
  if (memory == nullptr) return VME_EINVAL;
  return rc_of_call([&] {
    const RegionId region{id};
    const absl::Status removed =
        memory->manager->remove_region(region, vm_mem::RemovePolicy::kRefuse);
    if (!removed.ok() && !absl::IsNotFound(removed)) return memory->note(removed);
    vme_cpu_refresh(vm_engine::internal::attached_cpu());
    const absl::Status unused = memory->manager->wait_until_unused(region, kPatience);
    if (unused.ok()) memory->drop_device(region);
    const vme_rc rc = memory->note(unused);
    return rc == VME_EBUSY ? VME_INTR : rc;
  });
}

uint64_t vme_memory_read(vme_memory* memory, uint64_t gpa, void* host, uint64_t n, uint32_t* why) {
  if (memory == nullptr || (host == nullptr && n != 0)) return refused(n, why);
  return left_of(memory->manager->read(GuestAddress{gpa}, {static_cast<std::byte*>(host), n}), n,
                 why);
}

uint64_t vme_memory_write(vme_memory* memory, uint64_t gpa, const void* host, uint64_t n,
                          uint32_t* why) {
  if (memory == nullptr || (host == nullptr && n != 0)) return refused(n, why);
  return left_of(
      memory->manager->write(GuestAddress{gpa}, {static_cast<const std::byte*>(host), n}), n, why);
}

vme_rc vme_memory_host(vme_memory* memory, uint64_t gpa, uint64_t n, void** host) {
  if (memory == nullptr || host == nullptr || n == 0) return VME_EINVAL;
  const std::shared_ptr<const vm_mem::MemoryMap> map = memory->manager->map();
  const MapSection* section = map->find(GuestAddress{gpa});
  if (section == nullptr) return VME_UNMAPPED;
  if (section->kind == RegionKind::kMmio) return VME_MMIO;
  if (section->kind == RegionKind::kRom) return VME_PROT;
  const std::uint64_t within = gpa - section->range.begin().value;
  if (n > section->range.bytes() - within) return VME_ENOTSUP;
  *host = section->host + within;
  return VME_OK;
}

vme_rc vme_engine_create_over(vme_memory* memory, const vme_config* config, vme_engine** out) {
  if (memory == nullptr || config == nullptr || out == nullptr) return VME_EINVAL;
  if (config->abi_version != VME_ABI_VERSION) return VME_EABI;
  if (config->flags != 0 || config->memory != nullptr) return VME_EINVAL;
  return rc_of_call([&] {
    const absl::StatusOr<vme_engine*> engine = vm_engine::create_engine(
        *memory->manager,
        {.translate = config->translate, .translate_opaque = config->translate_opaque});
    if (engine.ok()) *out = *engine;
    return as_rc(engine.status());
  });
}
