#include "tools/vmrun/progress.h"

#include <fmt/format.h>

namespace vmrun {
namespace {

constexpr std::chrono::milliseconds kInterval{200};
constexpr std::chrono::milliseconds kQuiet{500};

std::uint64_t bytes_by_dma(const vm_mem::Statistics& statistics) {
  std::uint64_t sum = 0;
  for (const auto& count : statistics.counts[static_cast<std::size_t>(vm_mem::Route::kDma)]) {
    sum += count.bytes;
  }
  return sum;
}

}  // namespace

std::string progress_line(const ProgressState& state) {
  const auto done = static_cast<double>(state.instructions);
  const double rate = state.seconds > 0 ? done / state.seconds : 0;
  std::string line =
      fmt::format("{:.0f} s, {:.0f} M instructions, {:.0f} MIPS, {:.1f} MiB by DMA", state.seconds,
                  done / 1e6, rate / 1e6, static_cast<double>(state.dma_bytes) / (1 << 20));
  if (!state.most_instructions || rate == 0) return line;
  const auto all = static_cast<double>(*state.most_instructions);
  return line + fmt::format(", {:.0f} % done, {:.0f} s left", done / all * 100,
                            done < all ? (all - done) / rate : 0);
}

Progress::Progress(Machine& machine, Output& output, std::optional<std::uint64_t> most_instructions)
    : machine_(&machine),
      output_(&output),
      before_(machine.retired()),
      most_instructions_(most_instructions),
      start_(Clock::now()),
      next_(start_ + kQuiet) {}

void Progress::attend(Clock::time_point now) {
  if (output_->bytes_put() != printed_) {
    printed_ = output_->bytes_put();
    next_ = now + kQuiet;
  }
  if (now < next_ || !output_->at_line_start()) return;
  next_ = now + kInterval;
  output_->show_status(
      progress_line({.seconds = std::chrono::duration<double>(now - start_).count(),
                     .instructions = machine_->retired() - before_,
                     .most_instructions = most_instructions_,
                     .dma_bytes = bytes_by_dma(machine_->memory().statistics())}));
}

}  // namespace vmrun
