#include "tools/vmrun/csr.h"

namespace vmrun {
namespace {

enum Number : std::uint16_t {
  kMstatus = 0x300,
  kMisaNumber = 0x301,
  kMie = 0x304,
  kMtvec = 0x305,
  kMcounteren = 0x306,
  kMenvcfg = 0x30a,
  kMcountinhibit = 0x320,
  kMhpmevent3 = 0x323,
  kMhpmevent31 = 0x33f,
  kMscratch = 0x340,
  kMepc = 0x341,
  kMcause = 0x342,
  kMtval = 0x343,
  kMip = 0x344,
  kPmpcfg0 = 0x3a0,
  kPmpaddr63 = 0x3ef,
  kMcycle = 0xb00,
  kMinstret = 0xb02,
  kMhpmcounter3 = 0xb03,
  kMhpmcounter31 = 0xb1f,
  kCycle = 0xc00,
  kTime = 0xc01,
  kInstret = 0xc02,
  kHpmcounter31 = 0xc1f,
  kMvendorid = 0xf11,
  kMhartid = 0xf14,
  kMconfigptr = 0xf15,
};

constexpr bool within(std::uint16_t number, std::uint16_t first, std::uint16_t last) {
  return number >= first && number <= last;
}

// Registers that exist, read as zero, and ignore writes where those are legal.
constexpr bool is_zero_register(std::uint16_t number) {
  if (within(number, kPmpcfg0, kPmpaddr63)) {
    // The odd configuration registers are RV32's.
    return number >= 0x3b0 || number % 2 == 0;
  }
  return number == kMcountinhibit || within(number, kMhpmevent3, kMhpmevent31) ||
         within(number, kMhpmcounter3, kMhpmcounter31) ||
         within(number, kInstret + 1, kHpmcounter31) || within(number, kMvendorid, kMconfigptr);
}

constexpr bool is_user_counter(std::uint16_t number) {
  return within(number, kCycle, kHpmcounter31);
}

// Bits 8 and 9 of the number are the lowest privilege that may use it.
bool may_access(const HartState& hart, std::uint16_t number) {
  if (hart.privilege == Privilege::kMachine) return true;
  if (is_user_counter(number)) return ((hart.csrs.mcounteren >> (number - kCycle)) & 1) != 0;
  return ((number >> 8) & 3) == 0;
}

constexpr bool is_read_only(std::uint16_t number) { return (number >> 10) == 3; }

// MPP holds a mode that exists: a write of another one leaves it alone.
std::uint64_t legal_mstatus(std::uint64_t before, std::uint64_t value) {
  constexpr std::uint64_t kWritable = kMstatusMie | kMstatusMpie | kMstatusMprv | kMstatusTw;
  const std::uint64_t mpp = value & kMstatusMpp;
  const bool exists = mpp == 0 || mpp == kMstatusMpp;
  return (value & kWritable) | (exists ? mpp : before & kMstatusMpp);
}

// mstatus shows UXL, which is fixed at 64 bits.
constexpr std::uint64_t kUxl64 = std::uint64_t{2} << 32;

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

}  // namespace

bool read_csr(const HartState& hart, std::uint16_t number, std::uint64_t& value) {
  if (!may_access(hart, number)) return false;
  const MachineCsrs& csrs = hart.csrs;
  switch (number) {
    case kMstatus: value = csrs.mstatus | kUxl64; return true;
    case kMisaNumber: value = kMisa; return true;
    case kMie: value = csrs.mie; return true;
    case kMtvec: value = csrs.mtvec; return true;
    case kMcounteren: value = csrs.mcounteren; return true;
    case kMenvcfg: value = csrs.menvcfg; return true;
    case kMscratch: value = csrs.mscratch; return true;
    case kMepc: value = csrs.mepc; return true;
    case kMcause: value = csrs.mcause; return true;
    case kMtval: value = csrs.mtval; return true;
    case kMip: value = hart.pins.bits(); return true;
    default: break;
  }
  if (read_counter(hart, number, value)) return true;
  if (!is_zero_register(number)) return false;
  value = 0;
  return true;
}

bool write_csr(HartState& hart, std::uint16_t number, std::uint64_t value) {
  if (!may_access(hart, number) || is_read_only(number)) return false;
  MachineCsrs& csrs = hart.csrs;
  // The write happens after the count of this very instruction.
  const std::uint64_t counted = hart.clock.retired() + 1;
  switch (number) {
    case kMstatus: csrs.mstatus = legal_mstatus(csrs.mstatus, value); return true;
    case kMisaNumber: return true;  // fixed
    case kMie: csrs.mie = value & kInterruptMask; return true;
    case kMtvec: csrs.mtvec = value & ~std::uint64_t{2}; return true;
    case kMcounteren: csrs.mcounteren = value & 0xffffffffu; return true;
    case kMenvcfg: csrs.menvcfg = value & 1; return true;  // FIOM
    case kMscratch: csrs.mscratch = value; return true;
    case kMepc: csrs.mepc = value & ~std::uint64_t{1}; return true;
    case kMcause: csrs.mcause = value; return true;
    case kMtval: csrs.mtval = value; return true;
    case kMip: return true;  // M-mode's bits belong to the devices
    case kMcycle: csrs.mcycle_offset = value - counted; return true;
    case kMinstret: csrs.minstret_offset = value - counted; return true;
    default: return is_zero_register(number);
  }
}

}  // namespace vmrun
