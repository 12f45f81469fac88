#include "tools/vmrun/state_hash.h"

#include <array>
#include <cstddef>
#include <span>

#include "tools/vmrun/hash.h"
#include "tools/vmrun/layout.h"
#include "vm_mem/simd_memcpy.h"

namespace vmrun {
namespace {

constexpr std::size_t kPageBytes = 4096;
using Page = std::array<std::uint64_t, kPageBytes / sizeof(std::uint64_t)>;

void add_csrs(Hash& hash, const Csrs& csrs) {
  hash.add({csrs.fflags, csrs.frm, csrs.mstatus, csrs.mie, csrs.mtvec, csrs.mscratch, csrs.mepc});
  hash.add({csrs.mcause, csrs.mtval, csrs.mcounteren, csrs.menvcfg, csrs.medeleg, csrs.mideleg});
  hash.add({csrs.mip, csrs.stvec, csrs.sscratch, csrs.sepc, csrs.scause, csrs.stval});
  hash.add({csrs.scounteren, csrs.senvcfg, csrs.satp, csrs.mcycle_offset, csrs.minstret_offset});
  hash.add_all(csrs.pmpcfg);
  hash.add_all(csrs.pmpaddr);
}

// x0 and its sink, which no instruction reads, are left out.
void add_hart(Hash& hash, const HartState& state) {
  hash.add_all(std::span(state.x).subspan(1, 31));
  hash.add_all(state.f);
  hash.add({state.number, state.pc, static_cast<std::uint64_t>(state.privilege)});
  hash.add({state.clock.retired(), state.clock.ticks(), state.pins.bits()});
  add_csrs(hash, state.csrs);
}

}  // namespace

absl::StatusOr<std::uint64_t> state_hash(Machine& machine) {
  Hash hash;
  for (std::size_t hart = 0; hart < machine.hart_count(); ++hart) {
    add_hart(hash, machine.hart(hart).state());
  }
  vm_mem::DirtyPages written;
  if (const absl::Status status = machine.written_pages(written); !status.ok()) return status;
  Page page;
  const auto bytes = std::as_writable_bytes(std::span(page));
  for (const vm_mem::DirtyRun& run : written.runs()) {
    for (std::uint64_t number = run.first; number < run.end; ++number) {
      const vm_mem::GuestAddress address{kRamBase + number * kPageBytes};
      if (!machine.memory().read(address, bytes).ok()) return absl::InternalError("unreadable RAM");
      if (vm_mem::is_zero(bytes)) continue;
      hash.add(number);
      hash.add_all(page);
    }
  }
  return hash.value();
}

}  // namespace vmrun
