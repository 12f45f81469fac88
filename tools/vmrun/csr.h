// The control and status registers of a hart with M, S and U mode.
#ifndef VMRUN_CSR_H_
#define VMRUN_CSR_H_

#include <cstdint>
#include <string_view>

#include "tools/vmrun/hart_state.h"

namespace vmrun {

constexpr std::uint64_t misa_of(std::string_view extensions) {
  std::uint64_t misa = std::uint64_t{2} << 62;  // MXL: 64 bits
  for (const char letter : extensions) misa |= std::uint64_t{1} << (letter - 'a');
  return misa;
}
inline constexpr std::uint64_t kMisa = misa_of("acdfimsu");

// False: an illegal instruction (no such register, no privilege, a write to a
// read-only one); `value` and the state are as before then.
//
// Counters other than cycle, time and instret read as zero. An instruction that writes
// mcycle or minstret is not counted. satp has no address space identifiers; a mode that
// there is not leaves it as it was.
//
// Source:  RISC-V Privileged Architecture 20211203, chapters 2 to 4.
[[nodiscard]] bool read_csr(const HartState& hart, std::uint16_t number, std::uint64_t& value);
[[nodiscard]] bool write_csr(HartState& hart, std::uint16_t number, std::uint64_t value);

// What CSRRS and CSRRC change, where it is not the value that was read: of mip without the
// pins, so that what a device drives does not become software's.
std::uint64_t csr_to_change(const HartState& hart, std::uint16_t number, std::uint64_t value);

// Whether translations depend on it in ways that the mmu mode does not tell.
bool csr_is_of_translation(std::uint16_t number);

// CBIE has no value 2: a write of it leaves the field alone.
std::uint64_t legal_envcfg(std::uint64_t before, std::uint64_t value);

// The registers of S-mode, for csr.cc; false: it is none of them.
bool read_supervisor_csr(const HartState& hart, std::uint16_t number, std::uint64_t& value);
bool write_supervisor_csr(HartState& hart, std::uint16_t number, std::uint64_t value);

}  // namespace vmrun

#endif  // VMRUN_CSR_H_
