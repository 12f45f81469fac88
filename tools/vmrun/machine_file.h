// A machine into a snapshot, and out of it.
#ifndef VMRUN_MACHINE_FILE_H_
#define VMRUN_MACHINE_FILE_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "tools/vmrun/machine.h"
#include "tools/vmrun/machine_spec.h"
#include "tools/vmrun/options.h"
#include "tools/vmrun/save_point.h"
#include "tools/vmrun/slots.h"
#include "vm_mem/snapshot.h"

namespace vmrun {

// Whether it can be written, as far as that can be seen before, and is no file that the machine
// uses.
// Errors:  kInvalidArgument, kUnavailable: one line that names it
absl::Status check_save_path(const Options& options);

// Gives what was done, for the user: one line. A signal ends it.
//
// Needs:   the machine does not run.
// Errors:  those of save_snapshot(), Machine::save_states() and spec_of(); one line
absl::StatusOr<std::string> save_machine(Machine& machine, const HostSlots& slots,
                                         const Options& options, const SavedSession& session);

// A snapshot whose machine is to go on.
class MachineFile {
 public:
  // Checks all but the pages.
  // Errors:  those of Snapshot::open(); kInvalidArgument: it is not vmrun's; kDataLoss
  static absl::StatusOr<MachineFile> open(const std::string& path);

  const MachineSpec& spec() const { return spec_; }
  const SavedSession& session() const { return session_; }

  // Of a machine of this spec that has not run.
  // Errors:  those of restore_snapshot() and Machine::load_states(); one line
  absl::Status restore(Machine& machine, HostSlots& slots);

 private:
  explicit MachineFile(vm_mem::Snapshot snapshot) : snapshot_(std::move(snapshot)) {}
  absl::StatusOr<vm_mem::DeviceState> state(const std::string& id) const;
  absl::Status load(const std::string& id, std::uint32_t version,
                    const std::function<void(vm_device::StateReader&)>& use) const;

  vm_mem::Snapshot snapshot_;
  MachineSpec spec_;
  SavedSession session_;
};

}  // namespace vmrun

#endif  // VMRUN_MACHINE_FILE_H_
