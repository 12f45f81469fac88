#include "vm_engine/internal/fault_guard.h"

#include <signal.h>

#include <cstdint>

#include "vm_engine/internal/arena_views.h"
#include "vm_engine/internal/attached_thread.h"
#include "vm_engine/internal/code_registry.h"
#include "vm_engine/internal/fork_guard.h"
#include "vm_engine/internal/handler_epochs.h"
#include "vm_engine/internal/user_addresses.h"
#include "vm_mem/host_fault.h"

namespace vm_engine::internal {
namespace {

constexpr std::uint64_t kLost = ~std::uint64_t{0};

// What is known of the address of a fault.
struct Target {
  bool ours = false;
  bool again = false;  // the access may be tried again
  std::uint64_t gva = kLost;
  vme_rc rc = VME_PROT;
};

// The processor did not tell the address. x86-64 raises a stack fault, which becomes a
// SIGBUS, where the base register is rsp or rbp.
bool is_lost(const vm_mem::HostFault& fault) { return fault.information().si_code == SI_KERNEL; }

// An arena's page may be opened for it. A protection key or a tag would be in the way still.
bool is_of_mapping(const siginfo_t& information) {
  return information.si_signo == SIGSEGV &&
         (information.si_code == SEGV_ACCERR || information.si_code == SEGV_MAPERR);
}

vme_rc rc_of(const siginfo_t& information, vme_rc of_mapping) {
  return information.si_signo == SIGBUS ? VME_BUS : of_mapping;
}

Target target_of(const vm_mem::HostFault& fault, const Cpu& cpu, const vme_site& site) {
  if ((site.flags & VME_SITE_HOST_POINTER) != 0) {
    const bool lost = is_lost(fault);
    return {.ours = true,
            .gva = lost ? kLost : fault.address(),
            .rc = lost ? VME_UNMAPPED : rc_of(fault.information(), VME_PROT)};
  }
  const auto base = reinterpret_cast<std::uintptr_t>(cpu.fastmem_base);
  if (base == 0) return {};
  if (is_lost(fault)) return {.ours = true, .rc = VME_UNMAPPED};
  if (fault.address() >> user_address_bits() != 0) {
    return {.ours = true, .gva = fault.address() - base, .rc = VME_UNMAPPED};
  }
  if (cpu.arena() == nullptr) return {};
  const std::uint32_t access =
      is_of_mapping(fault.information()) ? site.access : std::uint32_t{VME_ACCESS_READ};
  const ArenaFault answer = cpu.arena()->on_fault(fault.address(), access);
  return {.ours = answer.ours,
          .again = answer.again,
          .gva = fault.address() - base,
          .rc = rc_of(fault.information(), answer.rc)};
}

void count(vme_code& code, const vme_site& site, vme_rc rc) {
  vme_engine& engine = code.engine;
  vme_code::Heat& heat = code.heat[static_cast<std::size_t>(&site - code.sites.data())];
  const std::uint64_t faults = heat.faults.fetch_add(1) + 1;
  const std::uint32_t limit = (rc == VME_MMIO ? engine.hot_at_devices : engine.hot_elsewhere)
                                  .load(std::memory_order_relaxed);
  if (limit == 0 || faults < limit || !heat.become_hot()) return;
  engine.untold_hot_sites.fetch_add(1, std::memory_order_release);
}

vme_fault record_of(const vme_site& site, const Target& target, std::uintptr_t pc) {
  return {.rc = target.rc,
          .access = site.access,
          .side = site.side,
          .site = site.cookie,
          .gva = target.gva,
          .gpa = kLost,
          .acc_gva = target.gva,
          .acc_size = std::uint64_t{1} << site.size_log2,
          .done = site.adj,
          .host_pc = pc,
          .guest_pc = site.guest_pc};
}

class FaultGuard final : public vm_mem::HostFaultSource {
 public:
  bool recover(vm_mem::HostFault& fault) noexcept override {
    Cpu* const cpu = attached_cpu();
    if (cpu == nullptr) return false;
    const HandlerStay stay;
    const std::uintptr_t pc = fault.program_counter();
    vme_code* const code = find_code(pc);
    if (code == nullptr || &code->engine != &cpu->engine()) return false;
    const vme_site* const site = code->site_at(pc);
    return site != nullptr && send(fault, *cpu, *code, *site);
  }

 private:
  static bool send(vm_mem::HostFault& fault, Cpu& cpu, vme_code& code, const vme_site& site) {
    const Target target = target_of(fault, cpu, site);
    if (!target.ours) return false;
    if (target.again) return true;
    count(code, site, target.rc);
    cpu.fault = record_of(site, target, fault.program_counter());
    fault.go_on_at(code.begin + site.land_off);
    return true;
  }
};

}  // namespace

bool start_fault_guard() {
  static FaultGuard guard;
  return watch_forks() && vm_mem::add_host_fault_source(&guard).ok();
}

}  // namespace vm_engine::internal
