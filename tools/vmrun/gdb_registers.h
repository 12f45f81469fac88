// The registers of a hart by GDB's numbers for RISC-V.
#ifndef VMRUN_GDB_REGISTERS_H_
#define VMRUN_GDB_REGISTERS_H_

#include <cstdint>
#include <optional>
#include <string>

#include "tools/vmrun/hart.h"

namespace vmrun {

// x0 to x31, pc, f0 to f31, the CSRs by their numbers, the privilege. All have 64 bits.
inline constexpr std::uint64_t kGdbPc = 32;
inline constexpr std::uint64_t kGdbFloat = 33;
inline constexpr std::uint64_t kGdbCsr = 65;
inline constexpr std::uint64_t kGdbPrivilege = kGdbCsr + 4096;
// As many, from the first on, are what `g` reads.
inline constexpr std::uint64_t kGdbGeneral = kGdbCsr;

// target.xml.
std::string gdb_target_description();

// Whatever the hart's privilege permits; nullopt: there is no such register.
std::optional<std::uint64_t> read_gdb_register(Hart& hart, std::uint64_t number);
// Between two instructions of the hart. False: there is no such register, it cannot be
// written, or never has that value (an odd pc, privilege 2).
[[nodiscard]] bool write_gdb_register(Hart& hart, std::uint64_t number, std::uint64_t value);

}  // namespace vmrun

#endif  // VMRUN_GDB_REGISTERS_H_
