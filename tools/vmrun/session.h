// One run of a machine with somebody at its console, from boot to end.
#ifndef VMRUN_SESSION_H_
#define VMRUN_SESSION_H_

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tools/vmrun/console_peer.h"
#include "tools/vmrun/gdb_server.h"
#include "tools/vmrun/machine.h"
#include "tools/vmrun/output.h"
#include "tools/vmrun/output_file.h"
#include "tools/vmrun/progress.h"
#include "tools/vmrun/save_point.h"
#include "tools/vmrun/slots.h"

namespace vmrun {

enum class EndKind : std::uint8_t {
  kPowerOff,      // the guest switched the machine off
  kReset,         // the guest asked for a reset; the machine stops instead
  kScriptEnd,     // all lines typed, and the prompt came back
  kInputEnd,      // standard input has ended, and the guest waits for more
  kInstructions,  // those that were asked for are executed
  kQuit,          // the user typed the escape
  kSaved,         // the machine is in a snapshot
  kGuestFailure,  // from here on, failures: the guest reported one
  kTrapLoop,
  kTimeout,
  kNoWakeup,  // the guest waits for an interrupt that cannot come
  kNoPrompt,  // the guest waits for input, but not at the prompt
  kSignal,
  kOutputLost,   // nobody reads standard output any more
  kTraceLost,    // the trace cannot be written
  kConsoleLost,  // the file of the virtio console
  kNotSaved,     // a snapshot was asked for, and there is none
};

// "power off" and the like.
const char* end_name(EndKind kind);
constexpr bool is_failure(EndKind kind) { return kind >= EndKind::kGuestFailure; }

// Why standard output is lost: one line. Needs: output.broken().
std::string output_loss(const Output& output);

struct SessionEnd {
  EndKind kind = EndKind::kPowerOff;
  std::string message;  // of a failure, and of kSaved: one line
};

// A guest that looks for input so often in one slice, and finds none, waits for it.
inline constexpr std::uint64_t kSliceInstructions = 200'000;
inline constexpr std::uint64_t kIdlePollsPerSlice = 500;

// What ends it from outside; nullopt: nothing.
struct SessionLimits {
  std::optional<std::chrono::milliseconds> timeout;
  std::optional<std::uint64_t> instructions;
};

class Session {
 public:
  // Needs:  all of them outlive the session.
  Session(Machine& machine, ConsolePeer& peer, HostSlots& slots, Output& output,
          SessionLimits limits);

  // Keeps it written, and ends the run as `lost` where that cannot be. Needs: it outlives the
  // session.
  void follow(OutputFile& file, EndKind lost);
  // Needs: it outlives the session.
  void show_progress(Progress& progress) { progress_ = &progress; }

  // The machine runs when the debugger lets it. Needs: it outlives the session.
  void obey(GdbServer& debugger) { debugger_ = &debugger; }

  // The run ends there. Needs: it outlives the session.
  void save_at(SavePoint& point);
  // Goes on with the session of a snapshot.
  // Errors:  kDataLoss: it cannot be one of this machine.
  absl::Status resume(const SavedSession& saved);

  SessionEnd run();

 private:
  struct Followed {
    OutputFile* file;
    EndKind lost;
  };

  std::optional<SessionEnd> step();
  std::optional<SessionEnd> after(StopReason reason);
  std::optional<SessionEnd> look_around();
  std::optional<SessionEnd> check_lost() const;
  SessionEnd finish(SessionEnd end);
  void write_out();
  std::optional<SessionEnd> check_finish() const;
  std::optional<SessionEnd> check_peer() const;
  std::optional<SessionEnd> check_outside() const;
  std::optional<SessionEnd> wait_for_interrupt();
  std::optional<SessionEnd> wait_for_input();
  std::optional<SessionEnd> stuck(SessionEnd end);
  std::uint64_t begin_slice();
  bool is_save_due() const;
  SessionEnd save(std::uint64_t slice_left);
  bool can_hear() const;
  std::chrono::milliseconds wait(std::chrono::milliseconds limit);
  SessionEnd trap_loop() const;
  std::string place() const;
  void feed();
  bool guest_polls();

  Machine* machine_;
  ConsolePeer* peer_;
  HostSlots* slots_;
  Output* output_;
  std::vector<Followed> files_;
  GdbServer* debugger_ = nullptr;
  std::chrono::steady_clock::time_point start_;
  SessionLimits limits_;
  Progress* progress_ = nullptr;     // null: none is shown
  SavePoint* save_point_ = nullptr;  // null: nothing is saved
  std::uint64_t slice_left_ = 0;     // of the slice that the snapshot was saved in
  std::uint64_t slice_end_ = 0;      // by instructions retired
  std::uint64_t polls_before_ = 0;
  std::uint64_t idle_slices_ = 0;
};

}  // namespace vmrun

#endif  // VMRUN_SESSION_H_
