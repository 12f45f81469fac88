// The control and status registers of a hart with M and U mode.
#ifndef VMRUN_CSR_H_
#define VMRUN_CSR_H_

#include <cstdint>

#include "tools/vmrun/hart_state.h"

namespace vmrun {

// MXL 64, extensions A, C, I, M, U.
inline constexpr std::uint64_t kMisa = (std::uint64_t{2} << 62) | (1u << ('a' - 'a')) |
                                       (1u << ('c' - 'a')) | (1u << ('i' - 'a')) |
                                       (1u << ('m' - 'a')) | (1u << ('u' - 'a'));

// False: an illegal instruction (no such register, no privilege, a write to a
// read-only one); `value` and the state are as before then.
//
// The PMP registers are those of a hart without PMP entries: they read as zero and
// ignore writes, and nothing is denied. Counters other than cycle, time and instret
// read as zero. An instruction that writes mcycle or minstret is not counted.
//
// Source:  RISC-V Privileged Architecture 20211203, chapters 2 and 3.
[[nodiscard]] bool read_csr(const HartState& hart, std::uint16_t number, std::uint64_t& value);
[[nodiscard]] bool write_csr(HartState& hart, std::uint16_t number, std::uint64_t value);

}  // namespace vmrun

#endif  // VMRUN_CSR_H_
