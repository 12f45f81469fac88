// What `vmmem snapshot` tells of snapshots, as text and as JSON.
#ifndef VMMEM_SNAPSHOT_REPORT_H_
#define VMMEM_SNAPSHOT_REPORT_H_

#include <cstddef>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "vm_mem/guest_address.h"
#include "vm_mem/snapshot.h"
#include "vm_mem/snapshot_pages.h"

namespace vmmem {

// "0x80000000-0x80ffffff".
std::string range_text(const vm_mem::GuestRange& range);

// Which part of each of `columns` equal parts of `region` lies in `ranges`, which are ascending;
// fewer columns where the region has fewer pages.
std::vector<double> density(const vm_mem::GuestRange& region,
                            const std::vector<vm_mem::GuestRange>& ranges, std::size_t columns);

// `parents` is what kept them from being opened: then what is told is of this file alone.
std::string inspect_text(const vm_mem::Snapshot& snapshot, const absl::Status& parents);
std::string inspect_json(const vm_mem::Snapshot& snapshot, const absl::Status& parents);

struct DiffReport {
  const vm_mem::Snapshot& first;
  const vm_mem::Snapshot& second;
  const vm_mem::SnapshotDiff& diff;

  // Also where the same memory lies in other regions.
  bool is_same() const;
};
std::string diff_text(const DiffReport& report);
std::string diff_json(const DiffReport& report);

}  // namespace vmmem

#endif  // VMMEM_SNAPSHOT_REPORT_H_
