#include "tools/vmrun/csr.h"

#include "tools/vmrun/csr_number.h"
#include "tools/vmrun/pmp.h"
#include "tools/vmrun/trap.h"

namespace vmrun {
namespace {

// Registers that exist, read as zero, and ignore writes where those are legal.
constexpr bool is_zero_register(std::uint16_t number) {
  return number == kMcountinhibit || within(number, kMhpmevent3, kMhpmevent31) ||
         within(number, kMhpmcounter3, kMhpmcounter31) ||
         within(number, kInstret + 1, kHpmcounter31) || within(number, kMvendorid, kMconfigptr);
}

constexpr bool is_user_counter(std::uint16_t number) {
  return within(number, kCycle, kHpmcounter31);
}

bool may_read_counter(const HartState& hart, std::uint16_t number) {
  const std::uint64_t user =
      hart.privilege == Privilege::kUser ? hart.csrs.scounteren : ~std::uint64_t{0};
  return (((hart.csrs.mcounteren & user) >> (number - kCycle)) & 1) != 0;
}

// Bits 8 and 9 of the number are the lowest privilege that may use it.
bool may_access(const HartState& hart, std::uint16_t number) {
  if (hart.privilege == Privilege::kMachine) return true;
  if (is_user_counter(number)) return may_read_counter(hart, number);
  if (number == kSatp && (hart.csrs.mstatus & kMstatusTvm) != 0) return false;
  return ((number >> 8) & 3u) <= static_cast<unsigned>(hart.privilege);
}

constexpr bool is_read_only(std::uint16_t number) { return (number >> 10) == 3; }

// MPP holds a mode that exists: a write of another one leaves it alone.
std::uint64_t legal_mstatus(std::uint64_t before, std::uint64_t value) {
  constexpr std::uint64_t kWritable = kSstatusWritable | kMstatusMie | kMstatusMpie | kMstatusMprv |
                                      kMstatusTvm | kMstatusTw | kMstatusTsr;
  constexpr std::uint64_t kNoMode = std::uint64_t{2} << 11;
  const std::uint64_t mpp = value & kMstatusMpp;
  return (value & kWritable) | (mpp == kNoMode ? before & kMstatusMpp : mpp);
}

// Every synchronous exception but a call from M-mode.
constexpr std::uint64_t kDelegable = 0xb3ff;

bool read_counter(const HartState& hart, std::uint16_t number, std::uint64_t& value) {
  const std::uint64_t retired = hart.clock.retired();
  switch (number) {
    case kMcycle:
    case kCycle: value = retired + hart.csrs.mcycle_offset; return true;
    case kMinstret:
    case kInstret: value = retired + hart.csrs.minstret_offset; return true;
    case kTime: value = hart.clock.ticks(); return true;
    default: return false;
  }
}

// Those of F and D. Off, they do not exist.
bool read_float(const HartState& hart, std::uint16_t number, std::uint64_t& value) {
  const Csrs& csrs = hart.csrs;
  if (!within(number, kFflags, kFcsr) || (csrs.mstatus & kMstatusFs) == 0) return false;
  const std::uint64_t both = csrs.fflags | (std::uint64_t{csrs.frm} << 5);
  value = number == kFcsr ? both : number == kFrm ? csrs.frm : csrs.fflags;
  return true;
}

bool write_float(HartState& hart, std::uint16_t number, std::uint64_t value) {
  Csrs& csrs = hart.csrs;
  if (!within(number, kFflags, kFcsr) || (csrs.mstatus & kMstatusFs) == 0) return false;
  if (number != kFrm) csrs.fflags = value & 31;
  if (number != kFflags) csrs.frm = (number == kFrm ? value : value >> 5) & 7;
  csrs.mstatus |= kMstatusFs;
  return true;
}

// The odd configuration registers are RV32's.
constexpr bool is_pmp_config(std::uint16_t number) {
  return within(number, kPmpcfg0, kPmpcfg15) && number % 2 == 0;
}
constexpr bool is_pmp_address(std::uint16_t number) {
  return within(number, kPmpaddr0, kPmpaddr63);
}
constexpr unsigned pmp_index(std::uint16_t number) {
  return number >= kPmpaddr0 ? number - unsigned{kPmpaddr0} : 4 * (number - unsigned{kPmpcfg0});
}

bool read_machine_csr(const HartState& hart, std::uint16_t number, std::uint64_t& value) {
  const Csrs& csrs = hart.csrs;
  switch (number) {
    case kMstatus: value = csrs.mstatus | kUxl64 | kSxl64 | state_dirty(csrs.mstatus); return true;
    case kMisaNumber: value = kMisa; return true;
    case kMedeleg: value = csrs.medeleg; return true;
    case kMideleg: value = csrs.mideleg; return true;
    case kMie: value = csrs.mie; return true;
    case kMtvec: value = csrs.mtvec; return true;
    case kMcounteren: value = csrs.mcounteren; return true;
    case kMenvcfg: value = csrs.menvcfg; return true;
    case kMscratch: value = csrs.mscratch; return true;
    case kMepc: value = csrs.mepc; return true;
    case kMcause: value = csrs.mcause; return true;
    case kMtval: value = csrs.mtval; return true;
    case kMip: value = pending_interrupts(hart); return true;
    case kMhartid: value = hart.number; return true;
    default: return false;
  }
}

bool write_machine_csr(HartState& hart, std::uint16_t number, std::uint64_t value) {
  Csrs& csrs = hart.csrs;
  switch (number) {
    case kMstatus: csrs.mstatus = legal_mstatus(csrs.mstatus, value); return true;
    case kMisaNumber: return true;  // fixed
    case kMedeleg: csrs.medeleg = value & kDelegable; return true;
    case kMideleg: csrs.mideleg = value & kSupervisorInterrupts; return true;
    case kMie: csrs.mie = value & kInterruptMask; return true;
    case kMtvec: csrs.mtvec = value & kVectorMask; return true;
    case kMcounteren: csrs.mcounteren = value & kCounterenMask; return true;
    case kMenvcfg:
      csrs.menvcfg = legal_envcfg(csrs.menvcfg, value) & (kSenvcfgWritable | kEnvcfgAdue);
      return true;
    case kMscratch: csrs.mscratch = value; return true;
    case kMepc: csrs.mepc = value & kPcMask; return true;
    case kMcause: csrs.mcause = value; return true;
    case kMtval: csrs.mtval = value; return true;
    case kMip: csrs.mip = value & kSupervisorInterrupts; return true;
    default: return false;
  }
}

// The write happens after the count of this very instruction.
bool write_counter(HartState& hart, std::uint16_t number, std::uint64_t value) {
  const std::uint64_t counted = hart.clock.retired() + 1;
  switch (number) {
    case kMcycle: hart.csrs.mcycle_offset = value - counted; return true;
    case kMinstret: hart.csrs.minstret_offset = value - counted; return true;
    default: return false;
  }
}

bool write_pmp(Csrs& csrs, std::uint16_t number, std::uint64_t value) {
  if (is_pmp_config(number)) return write_pmp_config(csrs, pmp_index(number), value), true;
  if (is_pmp_address(number)) return write_pmp_address(csrs, pmp_index(number), value), true;
  return false;
}

bool read_pmp(const Csrs& csrs, std::uint16_t number, std::uint64_t& value) {
  const bool config = is_pmp_config(number);
  if (!config && !is_pmp_address(number)) return false;
  const unsigned index = pmp_index(number);
  value = config ? read_pmp_config(csrs, index) : read_pmp_address(csrs, index);
  return true;
}

}  // namespace

bool read_csr(const HartState& hart, std::uint16_t number, std::uint64_t& value) {
  if (!may_access(hart, number)) return false;
  if (read_machine_csr(hart, number, value) || read_supervisor_csr(hart, number, value) ||
      read_counter(hart, number, value) || read_pmp(hart.csrs, number, value) ||
      read_float(hart, number, value)) {
    return true;
  }
  if (!is_zero_register(number)) return false;
  value = 0;
  return true;
}

bool write_csr(HartState& hart, std::uint16_t number, std::uint64_t value) {
  if (!may_access(hart, number) || is_read_only(number)) return false;
  return write_machine_csr(hart, number, value) || write_supervisor_csr(hart, number, value) ||
         write_counter(hart, number, value) || write_pmp(hart.csrs, number, value) ||
         write_float(hart, number, value) || is_zero_register(number);
}

std::uint64_t legal_envcfg(std::uint64_t before, std::uint64_t value) {
  constexpr std::uint64_t kReserved = 2u << 4;
  if ((value & kEnvcfgCbie) != kReserved) return value;
  return (value & ~kEnvcfgCbie) | (before & kEnvcfgCbie);
}

std::uint64_t csr_to_change(const HartState& hart, std::uint16_t number, std::uint64_t value) {
  return number == kMip ? hart.csrs.mip : value;
}

bool csr_is_of_translation(std::uint16_t number) {
  return number == kSatp || number == kMenvcfg || within(number, kPmpcfg0, kPmpaddr63);
}

}  // namespace vmrun
