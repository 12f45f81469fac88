// The C interface of the fault guard.
#include <algorithm>
#include <bit>
#include <memory>
#include <new>
#include <span>

#include "vm_engine/internal/attached_thread.h"
#include "vm_engine/internal/code_registry.h"
#include "vm_engine/internal/fault_guard.h"
#include "vm_engine/vm_engine.h"
#include "vm_mem/host_fault.h"

namespace {

using vm_engine::internal::Cpu;
using vm_engine::internal::is_engine;

constexpr std::uint64_t kMostCodeBytes = std::uint64_t{1} << 32;
constexpr unsigned kMostSizeLog2 = 6;

bool is_site(const vme_site& site, std::uint64_t code_bytes) {
  return site.pc_off < code_bytes && site.land_off < code_bytes &&
         (site.access == VME_ACCESS_READ || site.access == VME_ACCESS_WRITE) &&
         site.size_log2 <= kMostSizeLog2 && site.side <= VME_SIDE_DESTINATION &&
         (site.flags & ~VME_SITE_HOST_POINTER) == 0;
}

bool are_sites(std::span<const vme_site> sites, std::uint64_t code_bytes) {
  const auto out_of_order =
      std::adjacent_find(sites.begin(), sites.end(),
                         [](const vme_site& a, const vme_site& b) { return a.pc_off >= b.pc_off; });
  return out_of_order == sites.end() &&
         std::all_of(sites.begin(), sites.end(),
                     [&](const vme_site& site) { return is_site(site, code_bytes); });
}

// What `new` may throw ends here: the interface is C's.
std::unique_ptr<vme_code> make_code(vme_engine& engine, std::uintptr_t base, std::uint64_t bytes,
                                    std::span<const vme_site> sites) try {
  return std::make_unique<vme_code>(engine, base, bytes, sites);
} catch (const std::bad_alloc&) {
  return nullptr;
}

}  // namespace

vme_rc vme_code_register(vme_engine* engine, void* base, uint64_t len, const vme_site* sites,
                         uint64_t n, vme_code** out) {
  if (!is_engine(engine) || base == nullptr || out == nullptr) return VME_EINVAL;
  if (sites == nullptr && n != 0) return VME_EINVAL;
  const auto begin = reinterpret_cast<std::uintptr_t>(base);
  if (len == 0 || len > kMostCodeBytes || len > UINTPTR_MAX - begin || n > len) return VME_EINVAL;
  const std::span<const vme_site> all(sites, n);
  if (!are_sites(all, len) || !vm_engine::internal::is_executable(begin, len)) return VME_EINVAL;
  if (!vm_engine::internal::start_fault_guard()) return VME_ENOMEM;
  std::unique_ptr<vme_code> code = make_code(*engine, begin, len, all);
  if (code == nullptr) return VME_ENOMEM;
  vme_code* const made = code.get();
  const vme_rc added = vm_engine::internal::add_code(std::move(code));
  if (added == VME_OK) *out = made;
  return added;
}

vme_rc vme_code_unregister(vme_code* code) {
  if (code == nullptr) return VME_OK;
  if (vm_engine::internal::runs_one_of(code->engine, code->sites)) return VME_EBUSY;
  return vm_engine::internal::remove_code(*code);
}

vme_rc vme_fault_install(uint32_t flags) {
  if (flags != 0) return VME_EINVAL;
  if (!vm_engine::internal::start_fault_guard()) return VME_ENOTSUP;
  return vm_mem::install_host_fault_handler().ok() ? VME_OK : VME_ENOTSUP;
}

int vme_fault_try(int signal, void* siginfo, void* ucontext) {
  return vm_mem::recover_host_fault(signal, static_cast<siginfo_t*>(siginfo), ucontext) ? 1 : 0;
}

vme_rc vme_thread_attach(vme_cpu* cpu) {
  Cpu* const own = Cpu::from(cpu);
  return own == nullptr ? VME_EINVAL : vm_engine::internal::attach_this_thread(*own);
}

void vme_thread_detach(void) { vm_engine::internal::detach_this_thread(); }

void vme_hot_limits(vme_engine* engine, uint32_t device_faults, uint32_t other_faults) {
  if (!is_engine(engine)) return;
  engine->hot_at_devices.store(device_faults);
  engine->hot_elsewhere.store(other_faults);
}

uint64_t vme_hot_take(vme_engine* engine, vme_hot_fn fn, void* opaque) {
  if (!is_engine(engine) || fn == nullptr) return 0;
  std::uint64_t told = 0;
  vme_hot_site site{};
  for (; vm_engine::internal::take_hot_site(*engine, site); ++told) fn(opaque, &site);
  return told;
}
