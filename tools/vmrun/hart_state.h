// What a hart is between two instructions: registers, privilege, CSRs, reservation.
#ifndef VMRUN_HART_STATE_H_
#define VMRUN_HART_STATE_H_

#include <array>
#include <cstdint>

#include "tools/vmrun/clock.h"
#include "tools/vmrun/interrupt_pins.h"

namespace vmrun {

enum class Privilege : std::uint8_t { kUser = 0, kSupervisor = 1, kMachine = 3 };

// Synchronous exceptions, by their cause numbers.
enum class Cause : std::uint64_t {
  kFetchAccess = 1,
  kIllegalInstruction = 2,
  kBreakpoint = 3,
  kLoadMisaligned = 4,
  kLoadAccess = 5,
  kStoreMisaligned = 6,
  kStoreAccess = 7,
  kEcallUser = 8,
  kEcallSupervisor = 9,
  kEcallMachine = 11,
  kFetchPage = 12,
  kLoadPage = 13,
  kStorePage = 15,
};

inline constexpr std::uint64_t kMstatusSie = 1u << 1;
inline constexpr std::uint64_t kMstatusMie = 1u << 3;
inline constexpr std::uint64_t kMstatusSpie = 1u << 5;
inline constexpr std::uint64_t kMstatusMpie = 1u << 7;
inline constexpr std::uint64_t kMstatusSpp = 1u << 8;
inline constexpr std::uint64_t kMstatusMpp = 3u << 11;
inline constexpr std::uint64_t kMstatusFs = 3u << 13;
inline constexpr std::uint64_t kMstatusMprv = 1u << 17;
inline constexpr std::uint64_t kMstatusSum = 1u << 18;
inline constexpr std::uint64_t kMstatusMxr = 1u << 19;
inline constexpr std::uint64_t kMstatusTvm = 1u << 20;
inline constexpr std::uint64_t kMstatusTw = 1u << 21;
inline constexpr std::uint64_t kMstatusTsr = 1u << 22;
// menvcfg and senvcfg: CBO.INVAL, CBO.CLEAN and CBO.FLUSH, CBO.ZERO.
inline constexpr std::uint64_t kEnvcfgCbie = 3u << 4;
inline constexpr std::uint64_t kEnvcfgCbcfe = 1u << 6;
inline constexpr std::uint64_t kEnvcfgCbze = 1u << 7;
// menvcfg: the hart sets A and D in page tables itself (Svadu).
inline constexpr std::uint64_t kEnvcfgAdue = std::uint64_t{1} << 61;

inline constexpr unsigned kPmpEntries = 16;

struct Csrs {
  std::uint8_t fflags = 0;
  std::uint8_t frm = 0;
  std::uint64_t mstatus = kMstatusMpp;
  std::uint64_t mie = 0;
  std::uint64_t mtvec = 0;
  std::uint64_t mscratch = 0;
  std::uint64_t mepc = 0;
  std::uint64_t mcause = 0;
  std::uint64_t mtval = 0;
  std::uint64_t mcounteren = 0;
  std::uint64_t menvcfg = kEnvcfgAdue;
  std::uint64_t medeleg = 0;
  std::uint64_t mideleg = 0;
  // What software wrote into mip; the pins come on top.
  std::uint64_t mip = 0;
  std::uint64_t stvec = 0;
  std::uint64_t sscratch = 0;
  std::uint64_t sepc = 0;
  std::uint64_t scause = 0;
  std::uint64_t stval = 0;
  std::uint64_t scounteren = 0;
  std::uint64_t senvcfg = 0;
  std::uint64_t satp = 0;
  std::array<std::uint8_t, kPmpEntries> pmpcfg{};
  std::array<std::uint64_t, kPmpEntries> pmpaddr{};
  // What mcycle and minstret show is the clock's count plus these.
  std::uint64_t mcycle_offset = 0;
  std::uint64_t minstret_offset = 0;

  friend bool operator==(const Csrs&, const Csrs&) = default;
};

// What the last LR found; bytes is 0 where there is no reservation.
struct Reservation {
  std::uint64_t address = 0;
  std::uint64_t value = 0;
  unsigned bytes = 0;
};

// Writes to x0 go to x[kSink] instead, so that no instruction has to test for it.
inline constexpr std::uint8_t kSink = 32;

struct HartState {
  std::uint64_t number = 0;  // mhartid
  std::array<std::uint64_t, 33> x{};
  std::array<std::uint64_t, 32> f{};  // singles have ones above them
  std::uint64_t pc = 0;
  Privilege privilege = Privilege::kMachine;
  Csrs csrs;
  Reservation reservation;
  Clock clock;
  InterruptPins pins;
};

}  // namespace vmrun

#endif  // VMRUN_HART_STATE_H_
