// The machine's time. It is virtual: it advances with retired instructions, and by
// leaps where the guest idles, so that a run is the same on every host and a guest's
// delay costs no real time.
#ifndef VMRUN_CLOCK_H_
#define VMRUN_CLOCK_H_

#include <cstdint>

namespace vmrun {

// Units:  ticks of 100 ns, as on QEMU's virt machine. Ten instructions a tick make a
//         guest that seems to run at 100 MIPS.
inline constexpr std::uint64_t kTicksPerSecond = 10'000'000;
inline constexpr std::uint64_t kInstructionsPerTick = 10;

class Clock {
 public:
  std::uint64_t retired() const { return retired_; }
  void retire(std::uint64_t instructions) { retired_ += instructions; }
  // Where translated code keeps the count.
  std::uint64_t& cell() { return retired_; }

  std::uint64_t ticks() const { return retired_ / kInstructionsPerTick + leaps_; }
  void skip(std::uint64_t ticks) { leaps_ += ticks; }
  // The guest may set its time, back too.
  void set_ticks(std::uint64_t ticks) { leaps_ = ticks - retired_ / kInstructionsPerTick; }

  // For a snapshot.
  template <typename Archive, typename Self>
  static void fields(Archive& archive, Self& self) {
    archive(self.retired_, self.leaps_);
  }

 private:
  std::uint64_t retired_ = 0;
  std::uint64_t leaps_ = 0;  // modulo 2^64
};

}  // namespace vmrun

#endif  // VMRUN_CLOCK_H_
