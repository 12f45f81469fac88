// Engines and vCPUs: their making, their TLBs, and the question what a page permits.
#include "vm_engine/engine.h"

#include <new>
#include <utility>

#include "vm_engine/internal/attached_thread.h"
#include "vm_engine/internal/cpu.h"
#include "vm_engine/internal/guest_memory.h"

namespace {

using vm_engine::internal::Cpu;
using vm_engine::internal::GuestMemory;
using vm_engine::internal::is_engine;
using vm_engine::internal::kNoAddress;
using vm_engine::internal::kPageBytes;
using vm_engine::internal::kPageMask;
using vm_engine::internal::PageKind;
using vm_engine::internal::Place;
using vm_engine::internal::Subject;

constexpr std::uint32_t kAccesses[] = {VME_ACCESS_READ, VME_ACCESS_WRITE, VME_ACCESS_EXECUTE};
constexpr std::uint32_t kAnyAccess = VME_ACCESS_READ | VME_ACCESS_WRITE | VME_ACCESS_EXECUTE;

vme_rc check(const vme_config& config) {
  if (config.abi_version != VME_ABI_VERSION) return VME_EABI;
  const vme_memory_ops* ops = config.memory;
  const bool complete = ops != nullptr && ops->read != nullptr && ops->write != nullptr;
  return complete && config.flags == 0 ? VME_OK : VME_EINVAL;
}

vme_rc probe(Cpu& cpu, const Subject& subject, unsigned mode, PageKind& kind) {
  for (const std::uint32_t access : kAccesses) {
    if ((subject.access & access) == 0) continue;
    const Place place = cpu.resolve(subject.gva, access, mode);
    kind = place.kind;
    if (place.rc == VME_OK) continue;
    Subject refused = subject;
    refused.access = access;
    return cpu.fail(place.rc, refused, subject.gva, place.gpa);
  }
  return VME_OK;
}

}  // namespace

vme_rc vme_engine_create(const vme_config* config, vme_engine** out) {
  if (config == nullptr || out == nullptr) return VME_EINVAL;
  if (const vme_rc rc = check(*config); rc != VME_OK) return rc;
  auto* engine = new (std::nothrow) vme_engine;
  if (engine == nullptr) return VME_ENOMEM;
  engine->ops = *config->memory;
  engine->memory_opaque = config->memory_opaque;
  engine->translate = config->translate;
  engine->translate_opaque = config->translate_opaque;
  *out = engine;
  return VME_OK;
}

void vme_engine_destroy(vme_engine* engine) {
  if (!is_engine(engine)) return;
  engine->magic = 0;
  if (engine->manager != nullptr) {
    engine->manager->code_watch().remove_watcher(&engine->page_closer);
  }
  delete engine;
}

vme_rc vme_cpu_create(vme_engine* engine, vme_cpu** out) try {
  if (!is_engine(engine) || out == nullptr) return VME_EINVAL;
  std::unique_ptr<GuestMemory> memory =
      engine->manager != nullptr
          ? vm_engine::internal::make_managed_memory(*engine->manager)
          : vm_engine::internal::make_callback_memory(engine->ops, engine->memory_opaque);
  if (memory == nullptr) return VME_ENOMEM;
  Cpu* cpu = new (std::nothrow) Cpu(*engine, std::move(memory));
  if (cpu == nullptr) return VME_ENOMEM;
  *out = cpu;
  return VME_OK;
} catch (const std::bad_alloc&) {
  return VME_ENOMEM;
}

void vme_cpu_destroy(vme_cpu* cpu) {
  Cpu* own = Cpu::from(cpu);
  if (own == nullptr) return;
  vm_engine::internal::detach_from_its_thread(*own);
  own->reserved = 0;
  delete own;
}

vme_rc vme_probe(vme_cpu* cpu, uint64_t gva, uint64_t n, uint32_t access, uint32_t mmu_mode,
                 void** host_or_null) {
  Cpu* own = Cpu::from(cpu);
  if (host_or_null != nullptr) *host_or_null = nullptr;
  if (own == nullptr) return VME_EINVAL;
  if (n == 0) return VME_OK;
  own->sync();
  const Subject subject{.access = access, .gva = gva, .bytes = n};
  if (access == 0 || (access & ~kAnyAccess) != 0 || mmu_mode >= VME_MMU_MODES ||
      n > kPageBytes - (gva & ~kPageMask)) {
    return own->fail(VME_EINVAL, subject, gva, kNoAddress);
  }
  PageKind kind = PageKind::kPlain;
  const vme_rc rc = probe(*own, subject, mmu_mode, kind);
  const bool told = (access & VME_ACCESS_WRITE) != 0 && own->is_told_of(gva, mmu_mode);
  if (rc == VME_OK && kind == PageKind::kPlain && host_or_null != nullptr && !told) {
    *host_or_null = own->host_pointer(gva, mmu_mode);
  }
  return rc;
}

void vme_tlb_flush(vme_cpu* cpu) {
  if (Cpu* own = Cpu::from(cpu); own != nullptr) own->flush();
}

void vme_tlb_flush_page(vme_cpu* cpu, uint64_t gva) {
  if (Cpu* own = Cpu::from(cpu); own != nullptr) own->flush_page(gva);
}

void vme_tlb_flush_range(vme_cpu* cpu, uint64_t gva, uint64_t n) {
  if (Cpu* own = Cpu::from(cpu); own != nullptr) own->flush_range(gva, n);
}

vme_rc vme_tlb_flush_all_cpus(vme_engine* engine, uint64_t gva, uint64_t n, vme_cpu* self) {
  if (!is_engine(engine)) return VME_EINVAL;
  Cpu* own = Cpu::from(self);
  if (self != nullptr && (own == nullptr || !engine->cpus.has(*own))) return VME_EINVAL;
  if (n == 0) return VME_OK;
  if (own != nullptr) own->flush_range(gva, n);
  return engine->cpus.ask({.gva = gva, .bytes = n}, own,
                          vm_engine::internal::CpuList::Patience::kUntilExitRequest);
}

void vme_cpu_refresh(vme_cpu* cpu) {
  if (Cpu* own = Cpu::from(cpu); own != nullptr) own->sync();
}

void vme_cpu_park(vme_cpu* cpu) {
  if (Cpu* own = Cpu::from(cpu); own != nullptr) own->park();
}

namespace vm_engine {

absl::StatusOr<vme_engine*> create_engine(vm_mem::MemoryManager& memory, EngineOptions options) {
  std::unique_ptr<vme_engine> engine(new (std::nothrow) vme_engine);
  if (engine == nullptr) return absl::ResourceExhaustedError("no host memory for an engine");
  if (absl::Status added = memory.code_watch().add_watcher(&engine->page_closer); !added.ok()) {
    return added;
  }
  engine->manager = &memory;
  engine->translate = options.translate;
  engine->translate_opaque = options.translate_opaque;
  return engine.release();
}

void refresh(vme_cpu& cpu) { static_cast<internal::Cpu&>(cpu).sync(); }

void park(vme_cpu& cpu) { static_cast<internal::Cpu&>(cpu).park(); }

namespace detail {

vme_rc fail_misaligned(vme_cpu& cpu, std::uint64_t gva, unsigned bytes) {
  const Subject subject{
      .access = VME_ACCESS_WRITE, .side = VME_SIDE_DESTINATION, .gva = gva, .bytes = bytes};
  return static_cast<Cpu&>(cpu).fail(VME_ALIGN, subject, gva, kNoAddress);
}

vme_rc open_for_update(vme_cpu& cpu, std::uint64_t gva, unsigned bytes, unsigned mmu_mode) {
  auto& own = static_cast<Cpu&>(cpu);
  own.sync();
  const Subject subject{.access = VME_ACCESS_READ | VME_ACCESS_WRITE,
                        .side = VME_SIDE_DESTINATION,
                        .gva = gva,
                        .bytes = bytes};
  PageKind kind = PageKind::kPlain;
  const vme_rc rc = probe(own, subject, mmu_mode, kind);
  if (rc != VME_OK) return rc;
  if (own.host_pointer(gva, mmu_mode) != nullptr) return VME_OK;
  Subject refused = subject;
  refused.access = VME_ACCESS_WRITE;
  const Place place = own.resolve(gva, VME_ACCESS_WRITE, mmu_mode);
  const vme_rc why = kind == PageKind::kDevice ? VME_MMIO : VME_ENOTSUP;
  return own.fail(why, refused, gva, place.gpa);
}

void mark_update(vme_cpu& cpu, std::uint64_t gva, unsigned bytes, unsigned mmu_mode) {
  const internal::TlbDetail& at = static_cast<Cpu&>(cpu).detail_of(gva, mmu_mode);
  if (at.dirty_log == nullptr) return;
  at.dirty_log->mark(at.region_offset + gva % kPageBytes, bytes, vm_mem::WriteCause::kStore);
}

}  // namespace detail

}  // namespace vm_engine
