// Of the command line what is about snapshots.
#ifndef VMRUN_SNAPSHOT_OPTIONS_H_
#define VMRUN_SNAPSHOT_OPTIONS_H_

#include <functional>
#include <optional>
#include <string>

#include "tools/command_line/command_line.h"
#include "tools/vmrun/save_point.h"

namespace vmrun {

enum class RestoreMode : std::uint8_t { kEager, kLazy };

struct SnapshotOptions {
  std::string save;     // empty: nothing is saved
  SaveMark at;          // where
  std::string restore;  // empty: the machine boots
  RestoreMode mode = RestoreMode::kEager;
  // What the user has said of a machine that is in the snapshot.
  bool has_memory = false;
  bool has_harts = false;
  bool has_iommu = false;
};

// As the user typed it.
struct TypedSnapshot {
  std::string save;
  std::string at;
  std::string restore;
  bool lazy = false;
};

// The error where they cannot be. `is_given` knows the options of the command line.
std::optional<command_line::Exit> read_snapshot_options(
    const TypedSnapshot& typed, const std::function<bool(const char*)>& is_given,
    SnapshotOptions& out);

}  // namespace vmrun

#endif  // VMRUN_SNAPSHOT_OPTIONS_H_
