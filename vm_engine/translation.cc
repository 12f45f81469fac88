// The C interface of translators.
#include "vm_engine/translation.h"

#include <new>

#include "vm_engine/internal/code_guard.h"

namespace {

using vm_engine::internal::Cpu;
using vm_engine::internal::kNoAddress;
using vm_engine::internal::kPageBytes;
using vm_engine::internal::kPageMask;
using vm_engine::internal::Located;
using vm_mem::WriteCause;

static_assert(static_cast<int>(WriteCause::kStore) == VME_TC_STORE &&
              static_cast<int>(WriteCause::kCopy) == VME_TC_COPY &&
              static_cast<int>(WriteCause::kDma) == VME_TC_DMA &&
              static_cast<int>(WriteCause::kHost) == VME_TC_HOST &&
              static_cast<int>(WriteCause::kUnmap) == VME_TC_UNMAP &&
              static_cast<int>(WriteCause::kRemap) == VME_TC_REMAP &&
              static_cast<int>(WriteCause::kDiscard) == VME_TC_DISCARD &&
              static_cast<int>(WriteCause::kRestore) == VME_TC_RESTORE);

bool is_managed(const vme_engine* engine) {
  return engine != nullptr && engine->magic == vme_engine::kMagic && engine->manager != nullptr;
}

bool wraps(std::uint64_t at, std::uint64_t len) { return len != 0 && at + (len - 1) < at; }

// Guest physical addresses of one engine are nothing to another.
bool is_cpu_of(vme_tc& tc, vme_cpu* cpu) {
  const Cpu* const own = Cpu::from(cpu);
  return own != nullptr && &own->engine() == &tc.engine();
}

// Within one page.
vme_rc fetch(vme_tc& tc, Cpu& cpu, std::uint64_t gva, std::span<std::byte> to, unsigned mode,
             vme_translation& translation) {
  cpu.sync();
  const vm_engine::internal::Subject subject{
      .access = VME_ACCESS_EXECUTE, .gva = gva, .bytes = to.size()};
  const vm_engine::internal::Place place = cpu.resolve(gva, VME_ACCESS_EXECUTE, mode);
  if (place.rc != VME_OK) return cpu.fail(place.rc, subject, gva, place.gpa);
  const vme_rc rc = tc.extend(&cpu, place.gpa, to.size(), translation);
  if (rc != VME_OK) return cpu.fail(rc, subject, gva, place.gpa);
  // By the address that is watched: the guest's page tables may change meanwhile.
  const vm_engine::internal::Outcome got = cpu.memory().read(place.gpa, to);
  if (got.rc == VME_OK) return VME_OK;
  return cpu.fail(got.rc, subject, gva + got.done, place.gpa + got.done);
}

}  // namespace

vme_rc vme_tc_register(vme_engine* engine, vme_tc_fn fn, void* opaque, vme_tc** out) {
  if (engine == nullptr || engine->magic != vme_engine::kMagic || fn == nullptr || out == nullptr) {
    return VME_EINVAL;
  }
  if (!is_managed(engine)) return VME_ENOTSUP;
  auto* const tc = new (std::nothrow) vme_tc(*engine, fn, opaque);
  if (tc == nullptr) return VME_ENOMEM;
  if (!engine->manager->code_watch().add_watcher(tc).ok()) {
    delete tc;
    return VME_ENOMEM;
  }
  *out = tc;
  return VME_OK;
}

void vme_tc_unregister(vme_tc* tc) {
  if (tc == nullptr) return;
  tc->engine().manager->code_watch().remove_watcher(tc);
  delete tc;
}

void vme_tc_hot_limit(vme_tc* tc, uint32_t writes, uint32_t milliseconds) {
  if (tc != nullptr) tc->hot_pages().set_limit(writes, std::chrono::milliseconds(milliseconds));
}

vme_rc vme_tc_begin_translate(vme_tc* tc, vme_cpu* self, uint64_t gpa, uint64_t len,
                              vme_translation* translation) {
  if (tc == nullptr || translation == nullptr || len == 0 || wraps(gpa, len)) return VME_EINVAL;
  if (self != nullptr && !is_cpu_of(*tc, self)) return VME_EINVAL;
  if (translation->n > VME_TC_RANGES) return VME_EINVAL;
  return tc->extend(self, gpa, len, *translation);
}

uint64_t vme_tc_fetch(vme_tc* tc, vme_cpu* cpu, uint64_t gva, void* to, uint64_t n,
                      uint32_t mmu_mode, vme_translation* translation) {
  Cpu* const own = Cpu::from(cpu);
  if (own == nullptr) return n;
  if (tc == nullptr || !is_cpu_of(*tc, cpu) || translation == nullptr ||
      translation->n > VME_TC_RANGES || mmu_mode >= VME_MMU_MODES || (to == nullptr && n != 0)) {
    own->fail(VME_EINVAL, {.access = VME_ACCESS_EXECUTE, .gva = gva, .bytes = n}, gva, kNoAddress);
    return n;
  }
  std::span<std::byte> left(static_cast<std::byte*>(to), n);
  while (!left.empty()) {
    const std::size_t piece = std::min<std::uint64_t>(kPageBytes - (gva & ~kPageMask), left.size());
    if (fetch(*tc, *own, gva, left.first(piece), mmu_mode, *translation) != VME_OK) break;
    gva += piece;
    left = left.subspan(piece);
  }
  if (!left.empty()) own->fault.done = n - left.size();
  return left.size();
}

int vme_tc_end_translate(vme_tc* tc, vme_translation* translation) {
  if (tc == nullptr || translation == nullptr) return 0;
  if (tc->is_clean(*translation)) return 1;
  tc->release(*translation);
  return 0;
}

void vme_tc_release(vme_tc* tc, vme_translation* translation) {
  if (tc != nullptr && translation != nullptr) tc->release(*translation);
}

vme_rc vme_tc_written(vme_engine* engine, uint64_t gpa, uint64_t len, uint32_t why) {
  if (!is_managed(engine) || why > VME_TC_RESTORE || wraps(gpa, len)) return VME_EINVAL;
  vm_mem::MemoryManager& memory = *engine->manager;
  const std::shared_ptr<const vm_mem::MemoryMap> map = memory.map();
  const auto each = [&](auto visit) {
    for (std::uint64_t done = 0; done < len;) {
      Located at = vm_engine::internal::locate(*map, gpa + done);
      if (at.rc == VME_UNMAPPED) return VME_UNMAPPED;
      at.piece.bytes = std::min(at.piece.bytes, len - done);
      visit(at);
      done += at.piece.bytes;
    }
    return VME_OK;
  };
  if (each([](const Located&) {}) != VME_OK) return VME_UNMAPPED;
  return each([&](const Located& at) {
    if (at.rc != VME_OK) return;
    (void)memory.code_watch().written(at.piece.region, at.piece.offset, at.piece.bytes,
                                      static_cast<WriteCause>(why));
  });
}

vme_rc vme_tc_locate(vme_engine* engine, uint64_t gpa, vme_tc_range* piece) {
  if (engine == nullptr || engine->magic != vme_engine::kMagic || piece == nullptr) {
    return VME_EINVAL;
  }
  if (!is_managed(engine)) return VME_ENOTSUP;
  const Located at = vm_engine::internal::locate(*engine->manager->map(), gpa);
  if (at.rc == VME_OK) {
    *piece = {static_cast<std::uint64_t>(at.piece.region), at.piece.offset, at.piece.bytes};
  }
  return at.rc;
}
