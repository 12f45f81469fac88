// What a run did, for people and for scripts.
#ifndef VMRUN_REPORT_H_
#define VMRUN_REPORT_H_

#include <cstdint>
#include <optional>
#include <string>

#include "tools/vmrun/jit.h"
#include "tools/vmrun/profile.h"
#include "vm_mem/statistics.h"

namespace vmrun {

struct Report {
  std::string end;      // how it ended: "power off"
  std::string message;  // of a failure, or what was saved; else empty
  std::string isa;      // the row of the copy core
  std::uint64_t instructions = 0;
  std::uint64_t instructions_before = 0;  // of them, by the run that was saved
  double wall_seconds = 0;
  std::uint64_t pages_dirtied = 0;            // of 4096 bytes
  std::optional<std::uint64_t> iommu_faults;  // nullopt: there is no IOMMU
  std::optional<std::uint64_t> state_hash;    // nullopt: not asked for
  std::optional<JitStatistics> jit;           // of all harts; nullopt: they interpret
  std::optional<Profile> profile;             // nullopt: not asked for
  // The scalar loads and stores of the hart are cpu, inline.
  vm_mem::Statistics traffic;

  double guest_mips() const;
};

std::string as_text(const Report& report);

// One line, with a line feed. Keys: end, message, isa, instructions, wall_seconds,
// guest_mips, pages_dirtied, iommu_faults (null: no IOMMU), state_hash (a string of
// hexadecimal digits; null: not asked for), jit (null: there is none): an object of the
// counters of JitStatistics, profile (null: not asked for): samples, copies_share,
// copies_error and seconds, an object by activity, and routes: an object of cpu, dma, engine and
// snapshot, each an object of inline, vector and stream, each of operations and bytes.
std::string as_json(const Report& report);

}  // namespace vmrun

#endif  // VMRUN_REPORT_H_
