// How often code was run that is not translated: what runs a few times only is not worth it.
#ifndef VMRUN_JIT_HEAT_H_
#define VMRUN_JIT_HEAT_H_

#include <array>
#include <cstddef>
#include <cstdint>

namespace vmrun {

// Of fixed size: where two places share a slot, each begins again when the other one runs.
class JitHeat {
 public:
  // Counts one run of the code at this place in memory; whether it has had as many as `runs`.
  bool note_run(std::uint64_t host, std::uint32_t runs) {
    Count& count = counts_[(host >> 1) % kSlots];
    if (count.host != host) count = {.host = host};
    return count.runs++ >= runs;
  }
  void cool(std::uint64_t host) { counts_[(host >> 1) % kSlots] = {}; }

 private:
  static constexpr std::size_t kSlots = 8192;
  struct Count {
    std::uint64_t host = 0;
    std::uint32_t runs = 0;
  };

  std::array<Count, kSlots> counts_{};
};

}  // namespace vmrun

#endif  // VMRUN_JIT_HEAT_H_
