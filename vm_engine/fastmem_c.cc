#include "vm_engine/fastmem_c.h"

#include <memory>
#include <string>
#include <utility>

#include "vm_engine/fastmem.h"
#include "vm_engine/internal/c_results.h"
#include "vm_engine/internal/cpu.h"
#include "vm_mem/memory_manager.h"

struct vme_fastmem {
  vm_mem::MemoryManager* memory = nullptr;
  std::unique_ptr<vm_engine::FastmemArena> arena;
};

namespace {

using vm_engine::FastmemMode;
using vm_engine::FastmemOptions;
using vm_engine::FastmemSpace;
using vm_engine::internal::as_rc;
using vm_engine::internal::rc_of_call;

vme_rc options_of(const vme_fastmem_config& config, FastmemOptions& options) {
  if (config.abi_version != VME_ABI_VERSION) return VME_EABI;
  if ((config.flags & ~std::uint32_t{VME_FASTMEM_VIRTUAL}) != 0) return VME_EINVAL;
  if (config.bytes != 0) options.bytes = config.bytes;
  if (config.guard_bytes != 0) options.guard_bytes = config.guard_bytes;
  if ((config.flags & VME_FASTMEM_VIRTUAL) != 0) options.space = FastmemSpace::kVirtual;
  options.max_mappings = config.max_mappings;
  return VME_OK;
}

// There is no arena, or it is of the other kind.
vme_rc as_arena_rc(const absl::Status& status) {
  return absl::IsFailedPrecondition(status) ? VME_ENOTSUP : as_rc(status);
}

bool is_mapping_access(std::uint32_t access) {
  return access == VME_ACCESS_READ || access == (VME_ACCESS_READ | VME_ACCESS_WRITE);
}

vm_mem::Protection protection_of(std::uint32_t access) {
  return access == VME_ACCESS_READ ? vm_mem::Protection::kRead : vm_mem::Protection::kReadWrite;
}

// Whether the region is memory that has these bytes.
bool has_bytes(const vm_mem::MemoryManager& memory, vm_mem::RegionId region, std::uint64_t offset,
               std::uint64_t bytes) {
  const absl::StatusOr<vm_mem::RegionInfo> info = memory.region_info(region);
  if (!info.ok()) return false;
  const bool is_memory =
      info->type == vm_mem::RegionType::kRam || info->type == vm_mem::RegionType::kRom;
  return is_memory && bytes <= info->range.bytes() && offset <= info->range.bytes() - bytes;
}

}  // namespace

vme_rc vme_fastmem_create(vme_engine* engine, const vme_fastmem_config* config, vme_fastmem** out) {
  if (!vm_engine::internal::is_engine(engine) || out == nullptr) return VME_EINVAL;
  FastmemOptions options;
  const vme_rc checked = config != nullptr ? options_of(*config, options) : VME_OK;
  if (checked != VME_OK) return checked;
  if (engine->manager == nullptr) return VME_ENOTSUP;
  return rc_of_call([&] {
    auto made = std::make_unique<vme_fastmem>();
    auto arena = vm_engine::FastmemArena::create(*engine->manager, options);
    if (!arena.ok()) return as_rc(arena.status());
    made->memory = engine->manager;
    made->arena = *std::move(arena);
    *out = made.release();
    return VME_OK;
  });
}

void vme_fastmem_destroy(vme_fastmem* fastmem) { delete fastmem; }

int vme_fastmem_is_complete(const vme_fastmem* fastmem) {
  return fastmem != nullptr && fastmem->arena->mode() == FastmemMode::kFastmem ? 1 : 0;
}

uint64_t vme_fastmem_reason(const vme_fastmem* fastmem, char* text, uint64_t bytes) {
  std::uint64_t length = 0;
  (void)rc_of_call([&] {
    const std::string words =
        fastmem != nullptr ? fastmem->arena->reason() : std::string("there is no vme_fastmem");
    length = vm_engine::internal::put_words(words, text, bytes);
    return VME_OK;
  });
  return length;
}

void* vme_fastmem_base(const vme_fastmem* fastmem) {
  return fastmem == nullptr ? nullptr : fastmem->arena->base();
}

uint64_t vme_fastmem_bytes(const vme_fastmem* fastmem) {
  return fastmem == nullptr ? 0 : fastmem->arena->bytes();
}

vme_rc vme_fastmem_attach(vme_fastmem* fastmem, vme_cpu* cpu) {
  if (fastmem == nullptr) return VME_EINVAL;
  return rc_of_call([&] { return as_arena_rc(fastmem->arena->attach(cpu)); });
}

void vme_fastmem_detach(vme_fastmem* fastmem, vme_cpu* cpu) {
  if (fastmem != nullptr) fastmem->arena->detach(cpu);
}

vme_rc vme_fastmem_map(vme_fastmem* fastmem, uint64_t gva, uint64_t gpa, uint64_t bytes,
                       uint32_t access) {
  if (fastmem == nullptr || !is_mapping_access(access)) return VME_EINVAL;
  const auto range = vm_mem::GuestRange::make(vm_mem::GuestAddress{gpa}, bytes);
  if (!range) return VME_EINVAL;
  return rc_of_call(
      [&] { return as_arena_rc(fastmem->arena->map(gva, *range, protection_of(access))); });
}

vme_rc vme_fastmem_unmap(vme_fastmem* fastmem, uint64_t gva, uint64_t bytes) {
  if (fastmem == nullptr) return VME_EINVAL;
  return rc_of_call([&] { return as_arena_rc(fastmem->arena->unmap(gva, bytes)); });
}

vme_rc vme_fastmem_protect(vme_fastmem* fastmem, uint64_t ram_id, uint64_t ram_off,
                           uint64_t bytes) {
  if (fastmem == nullptr) return VME_EINVAL;
  return rc_of_call([&] {
    const vm_mem::RegionId region{ram_id};
    if (!has_bytes(*fastmem->memory, region, ram_off, bytes)) return VME_EINVAL;
    return as_arena_rc(fastmem->arena->protect(region, ram_off, bytes));
  });
}

void vme_fastmem_unprotect(vme_fastmem* fastmem, uint64_t ram_id, uint64_t ram_off,
                           uint64_t bytes) {
  if (fastmem == nullptr) return;
  (void)rc_of_call([&] {
    const vm_mem::RegionId region{ram_id};
    if (!has_bytes(*fastmem->memory, region, ram_off, bytes)) return VME_EINVAL;
    fastmem->arena->unprotect(region, ram_off, bytes);
    return VME_OK;
  });
}
