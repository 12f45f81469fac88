// Physical memory protection: kPmpEntries entries with a grain of one page, so that a soft
// TLB that knows pages knows everything.
#ifndef VMRUN_PMP_H_
#define VMRUN_PMP_H_

#include <cstdint>

#include "tools/vmrun/hart_state.h"

namespace vmrun {

// What the entries permit on the page at `page`: VME_ACCESS_* bits. With no entry that
// matches, M-mode may do everything and the others nothing.
//
// Source:  RISC-V Privileged Architecture 20211203, 3.7.
std::uint32_t pmp_permits(const Csrs& csrs, Privilege privilege, std::uint64_t page);

// The registers. `index` is that of the entry, of the first of eight for a configuration;
// reads beyond the entries give zero, writes there and to locked ones do nothing.
std::uint64_t read_pmp_config(const Csrs& csrs, unsigned index);
void write_pmp_config(Csrs& csrs, unsigned index, std::uint64_t value);
std::uint64_t read_pmp_address(const Csrs& csrs, unsigned index);
void write_pmp_address(Csrs& csrs, unsigned index, std::uint64_t value);

}  // namespace vmrun

#endif  // VMRUN_PMP_H_
