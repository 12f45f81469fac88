// The numbers of the registers that this hart has, and what csr.cc and csr_supervisor.cc
// share about them.
#ifndef VMRUN_CSR_NUMBER_H_
#define VMRUN_CSR_NUMBER_H_

#include <cstdint>

#include "tools/vmrun/hart_state.h"

namespace vmrun {

enum CsrNumber : std::uint16_t {
  kFflags = 0x001,
  kFrm = 0x002,
  kFcsr = 0x003,
  kSstatus = 0x100,
  kSie = 0x104,
  kStvec = 0x105,
  kScounteren = 0x106,
  kSenvcfg = 0x10a,
  kSscratch = 0x140,
  kSepc = 0x141,
  kScause = 0x142,
  kStval = 0x143,
  kSip = 0x144,
  kSatp = 0x180,
  kMstatus = 0x300,
  kMisaNumber = 0x301,
  kMedeleg = 0x302,
  kMideleg = 0x303,
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
  kPmpcfg15 = 0x3af,
  kPmpaddr0 = 0x3b0,
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

// Trap vectors have modes 0 and 1, exception pcs are even.
inline constexpr std::uint64_t kVectorMask = ~std::uint64_t{2};
inline constexpr std::uint64_t kPcMask = ~std::uint64_t{1};
inline constexpr std::uint64_t kCounterenMask = 0xffffffffu;
inline constexpr std::uint64_t kEnvcfgFiom = 1;
inline constexpr std::uint64_t kSenvcfgWritable =
    kEnvcfgFiom | kEnvcfgCbie | kEnvcfgCbcfe | kEnvcfgCbze;

inline constexpr std::uint64_t kSstatusWritable =
    kMstatusSie | kMstatusSpie | kMstatusSpp | kMstatusFs | kMstatusSum | kMstatusMxr;
// SD sums up that FS is dirty.
constexpr std::uint64_t state_dirty(std::uint64_t mstatus) {
  return (mstatus & kMstatusFs) == kMstatusFs ? std::uint64_t{1} << 63 : 0;
}
// UXL and SXL are fixed at 64 bits.
inline constexpr std::uint64_t kUxl64 = std::uint64_t{2} << 32;
inline constexpr std::uint64_t kSxl64 = std::uint64_t{2} << 34;

}  // namespace vmrun

#endif  // VMRUN_CSR_NUMBER_H_
