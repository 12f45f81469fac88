// Most of them are views of M-mode's registers, as far as those are delegated.

#include "tools/vmrun/csr.h"
#include "tools/vmrun/csr_number.h"
#include "tools/vmrun/mmu.h"
#include "tools/vmrun/trap.h"

namespace vmrun {
namespace {

void write_satp(Csrs& csrs, std::uint64_t value) {
  const std::uint64_t mode = value >> kSatpModeShift;
  if (mode != kSatpBare && mode != kSatpSv39 && mode != kSatpSv48) return;
  csrs.satp = (mode << kSatpModeShift) | (value & kSatpPpnMask);
}

// Of the interrupts that are S-mode's, software can make only one pending.
void write_sip(Csrs& csrs, std::uint64_t value) {
  const std::uint64_t writable = mask_of(Interrupt::kSupervisorSoftware) & csrs.mideleg;
  csrs.mip = (csrs.mip & ~writable) | (value & writable);
}

constexpr std::uint64_t merged(std::uint64_t before, std::uint64_t value, std::uint64_t mask) {
  return (before & ~mask) | (value & mask);
}

}  // namespace

bool read_supervisor_csr(const HartState& hart, std::uint16_t number, std::uint64_t& value) {
  const Csrs& csrs = hart.csrs;
  switch (number) {
    case kSstatus:
      value = (csrs.mstatus & kSstatusWritable) | kUxl64 | state_dirty(csrs.mstatus);
      return true;
    case kSie: value = csrs.mie & csrs.mideleg; return true;
    case kStvec: value = csrs.stvec; return true;
    case kScounteren: value = csrs.scounteren; return true;
    case kSenvcfg: value = csrs.senvcfg; return true;
    case kSscratch: value = csrs.sscratch; return true;
    case kSepc: value = csrs.sepc; return true;
    case kScause: value = csrs.scause; return true;
    case kStval: value = csrs.stval; return true;
    case kSip: value = pending_interrupts(hart) & csrs.mideleg; return true;
    case kSatp: value = csrs.satp; return true;
    default: return false;
  }
}

bool write_supervisor_csr(HartState& hart, std::uint16_t number, std::uint64_t value) {
  Csrs& csrs = hart.csrs;
  switch (number) {
    case kSstatus: csrs.mstatus = merged(csrs.mstatus, value, kSstatusWritable); return true;
    case kSie: csrs.mie = merged(csrs.mie, value, csrs.mideleg); return true;
    case kStvec: csrs.stvec = value & kVectorMask; return true;
    case kScounteren: csrs.scounteren = value & kCounterenMask; return true;
    case kSenvcfg: csrs.senvcfg = legal_envcfg(csrs.senvcfg, value) & kSenvcfgWritable; return true;
    case kSscratch: csrs.sscratch = value; return true;
    case kSepc: csrs.sepc = value & kPcMask; return true;
    case kScause: csrs.scause = value; return true;
    case kStval: csrs.stval = value; return true;
    case kSip: write_sip(csrs, value); return true;
    case kSatp: write_satp(csrs, value); return true;
    default: return false;
  }
}

}  // namespace vmrun
