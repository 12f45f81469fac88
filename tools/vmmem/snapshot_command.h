// `vmmem snapshot`: looks at files of guest memory, and makes others of them.
#ifndef VMMEM_SNAPSHOT_COMMAND_H_
#define VMMEM_SNAPSHOT_COMMAND_H_

#include "tools/vmmem/options.h"

namespace vmmem {

// The exit status. A signal that ends the program does so once nothing half-written is left.
int run_snapshot(const SnapshotRequest& request, Format format);

}  // namespace vmmem

#endif  // VMMEM_SNAPSHOT_COMMAND_H_
