// One number for what a machine has become.
#ifndef VMRUN_STATE_HASH_H_
#define VMRUN_STATE_HASH_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "tools/vmrun/machine.h"

namespace vmrun {

// Of each hart the registers, pc, privilege, CSRs, pins and clock; and what RAM holds, where
// it is not zero. Two machines that have done the same have the same number, however
// their code was executed; others hardly do.
//
// Errors:  those of MemoryManager::harvest_dirty.
// Cost:    reads the pages that were ever written.
absl::StatusOr<std::uint64_t> state_hash(Machine& machine);

}  // namespace vmrun

#endif  // VMRUN_STATE_HASH_H_
