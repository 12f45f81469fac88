// A hart in a snapshot.
#ifndef VMRUN_HART_SAVED_H_
#define VMRUN_HART_SAVED_H_

#include "tools/vmrun/hart_state.h"
#include "vm_device/state_bytes.h"

namespace vmrun {

inline constexpr std::uint32_t kHartStateVersion = 1;

// All but the pins, which devices drive.
void save_hart(const HartState& hart, vm_device::StateWriter& to);
// Of the hart with the same number. Refuses what no hart can be: the reader says why.
void load_hart(HartState& hart, vm_device::StateReader& from);

}  // namespace vmrun

#endif  // VMRUN_HART_SAVED_H_
