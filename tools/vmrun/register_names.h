// What people call the registers of a hart.
#ifndef VMRUN_REGISTER_NAMES_H_
#define VMRUN_REGISTER_NAMES_H_

#include <array>
#include <cstdint>
#include <span>

#include "tools/vmrun/hart_state.h"

namespace vmrun {

inline constexpr std::array<const char*, 32> kIntegerNames = {
    "zero", "ra", "sp", "gp", "tp",  "t0",  "t1", "t2", "fp", "s1", "a0",
    "a1",   "a2", "a3", "a4", "a5",  "a6",  "a7", "s2", "s3", "s4", "s5",
    "s6",   "s7", "s8", "s9", "s10", "s11", "t3", "t4", "t5", "t6"};
inline constexpr std::array<const char*, 32> kFloatNames = {
    "ft0", "ft1", "ft2", "ft3", "ft4",  "ft5",  "ft6", "ft7", "fs0",  "fs1", "fa0",
    "fa1", "fa2", "fa3", "fa4", "fa5",  "fa6",  "fa7", "fs2", "fs3",  "fs4", "fs5",
    "fs6", "fs7", "fs8", "fs9", "fs10", "fs11", "ft8", "ft9", "ft10", "ft11"};

struct CsrName {
  std::uint16_t number = 0;
  const char* name = nullptr;
};
// Those that the hart has and that say something, by ascending number.
std::span<const CsrName> csr_names();
// Null: it is none of them.
const char* csr_name(std::uint16_t number);

// M, S or U.
char letter_of(Privilege privilege);

}  // namespace vmrun

#endif  // VMRUN_REGISTER_NAMES_H_
