// How far a run has come, in one line on a terminal.
#ifndef VMRUN_PROGRESS_H_
#define VMRUN_PROGRESS_H_

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "tools/vmrun/machine.h"
#include "tools/vmrun/output.h"

namespace vmrun {

struct ProgressState {
  double seconds = 0;
  std::uint64_t instructions = 0;
  std::optional<std::uint64_t> most_instructions = std::nullopt;
  std::uint64_t dma_bytes = 0;
};

// "12 s, 3400 M instructions, 283 MIPS, 1.5 MiB by DMA, 34 % done, 23 s left"
std::string progress_line(const ProgressState& state);

// Shown while the guest prints nothing, five times a second, where the cursor is at the
// beginning of a line; gone when anything else is printed.
class Progress {
 public:
  using Clock = std::chrono::steady_clock;

  // Needs:  both outlive it.
  Progress(Machine& machine, Output& output, std::optional<std::uint64_t> most_instructions);

  // Called now and then while the guest runs.
  void attend(Clock::time_point now);

 private:
  Machine* machine_;
  Output* output_;
  std::uint64_t before_;  // instructions of the run that was saved
  std::optional<std::uint64_t> most_instructions_;
  Clock::time_point start_;
  Clock::time_point next_;
  std::uint64_t printed_ = 0;  // by the guest, when it was last looked at
};

}  // namespace vmrun

#endif  // VMRUN_PROGRESS_H_
