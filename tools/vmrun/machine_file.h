// A machine into a snapshot, and out of it.
#ifndef VMRUN_MACHINE_FILE_H_
#define VMRUN_MACHINE_FILE_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "tools/vmrun/machine.h"
#include "tools/vmrun/machine_spec.h"
#include "tools/vmrun/options.h"
#include "tools/vmrun/save_point.h"
#include "tools/vmrun/slots.h"
#include "vm_mem/lazy_restore.h"
#include "vm_mem/snapshot.h"

namespace vmrun {

// Whether it can be written, as far as that can be seen before, and is no file that the machine
// uses.
// Errors:  kInvalidArgument, kUnavailable: one line that names it
absl::Status check_save_path(const Options& options);

// Gives what was done, for the user: one line. A signal ends it. What a lazy restore has seen
// the guest touch comes first in the file; null: there is none.
//
// Needs:   the machine does not run.
// Errors:  those of save_snapshot(), Machine::save_states() and spec_of(); one line
absl::StatusOr<std::string> save_machine(Machine& machine, const HostSlots& slots,
                                         const Options& options, const SavedSession& session,
                                         const vm_mem::LazyRestore* lazy);

// A snapshot whose machine is to go on.
class MachineFile {
 public:
  // Checks all but the pages.
  // Errors:  those of Snapshot::open(); kInvalidArgument: it is not vmrun's; kDataLoss
  static absl::StatusOr<MachineFile> open(const std::string& path);

  const MachineSpec& spec() const { return spec_; }
  const SavedSession& session() const { return session_; }

  // Of a machine of this spec that has not run. kLazy: what brings the memory, which goes before
  // the machine does; null where the host, whose reason is given to `complain`, cannot do that
  // and for kEager: all is there. A page that turns out to be damaged ends the process.
  //
  // Errors:  those of restore_snapshot() and Machine::load_states(); one line
  using Complain = std::function<void(const std::string& text)>;
  absl::StatusOr<std::unique_ptr<vm_mem::LazyRestore>> restore(Machine& machine, HostSlots& slots,
                                                               RestoreMode mode,
                                                               const Complain& complain);

 private:
  explicit MachineFile(vm_mem::Snapshot snapshot)
      : snapshot_(std::make_shared<vm_mem::Snapshot>(std::move(snapshot))) {}
  absl::StatusOr<std::unique_ptr<vm_mem::LazyRestore>> restore_memory(Machine& machine,
                                                                      RestoreMode mode,
                                                                      const Complain& complain);
  absl::StatusOr<vm_mem::DeviceState> state(const std::string& id) const;
  absl::Status load(const std::string& id, std::uint32_t version,
                    const std::function<void(vm_device::StateReader&)>& use) const;

  std::shared_ptr<const vm_mem::Snapshot> snapshot_;
  MachineSpec spec_;
  SavedSession session_;
};

}  // namespace vmrun

#endif  // VMRUN_MACHINE_FILE_H_
