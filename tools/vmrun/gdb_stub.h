// GDB's remote serial protocol, packet by packet: what a client says to a machine, and what
// it is told. Knows nothing of sockets and frames.
#ifndef VMRUN_GDB_STUB_H_
#define VMRUN_GDB_STUB_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tools/vmrun/gdb_protocol.h"
#include "tools/vmrun/gdb_target.h"

namespace vmrun {

enum class GdbState : std::uint8_t {
  kStopped,
  kRunning,   // until it stops, the client is owed a packet
  kDetached,  // the client has gone
  kKilled,    // the client wants the run to end
};

// An error of the protocol's, by errno's EINVAL.
constexpr const char* kGdbMalformed = "E16";
constexpr unsigned kGdbSigtrap = 5;

// Harts are threads, numbered from 1.
//
// Source:  "Debugging with GDB", appendix E.
class GdbStub {
 public:
  explicit GdbStub(Machine& machine) : target_(machine) {}

  // The answer; nullopt: none now, or never. Empty: not supported.
  // Needs:  kStopped.
  std::optional<std::string> answer(std::string_view packet);

  GdbState state() const { return state_; }
  // Whether the client has asked for packets not to be acknowledged.
  bool wants_no_acks() const { return no_acks_; }

  // What the machine's run() ended in, the client's Ctrl-C, a wait without an end, and the end
  // of the run with an exit status. Each gives the packet that the client is owed.
  // Needs:  kRunning.
  std::string note_breakpoint();
  std::string note_trap_loop();
  std::string note_interrupt();
  std::string note_stuck();
  std::string note_end(int status);

  // For another client, or none: the machine stands still, nothing is set. And on it goes.
  void reset();
  void let_go();

 private:
  using Answer = std::optional<std::string>;
  struct Command {
    std::string_view name;
    Answer (GdbStub::*run)(GdbFields fields);
  };
  struct Action {
    char kind = 0;                    // c, s
    std::optional<std::size_t> hart;  // nullopt: all that no other is for
  };
  static const Command kCommands[];
  static bool is_for(const Command& command, std::string_view packet);

  Answer tell_stop(GdbFields fields);
  Answer read_general(GdbFields fields);
  Answer write_general(GdbFields fields);
  Answer read_register(GdbFields fields);
  Answer write_register(GdbFields fields);
  Answer read_memory(GdbFields fields);
  Answer write_memory(GdbFields fields);
  Answer write_binary(GdbFields fields);
  Answer insert(GdbFields fields);
  Answer remove(GdbFields fields);
  Answer go_on(GdbFields fields);
  Answer go_on_signalled(GdbFields fields);
  Answer step(GdbFields fields);
  Answer step_signalled(GdbFields fields);
  Answer tell_actions(GdbFields fields);
  Answer resume(GdbFields fields);
  Answer select(GdbFields fields);
  Answer is_alive(GdbFields fields);
  Answer detach(GdbFields fields);
  Answer kill(GdbFields fields);
  Answer supported(GdbFields fields);
  Answer stop_acks(GdbFields fields);
  Answer description(GdbFields fields);
  Answer first_threads(GdbFields fields);
  Answer more_threads(GdbFields fields);
  Answer current_thread(GdbFields fields);
  Answer thread_info(GdbFields fields);
  Answer attached(GdbFields fields);
  Answer monitor(GdbFields fields);

  std::string monitor_text(std::string_view line);
  std::string machine_info();
  std::string translation(GdbFields fields);
  std::optional<std::size_t> hart_of(GdbFields& fields) const;
  std::optional<Action> action_of(std::string_view text) const;
  Answer resume_at(GdbFields fields, char kind);
  Answer perform(const std::vector<Action>& actions);
  Answer step_once(const std::vector<char>& kinds);
  std::string stopped(unsigned signal, std::size_t hart, std::string_view reason);

  GdbTarget target_;
  GdbState state_ = GdbState::kStopped;
  std::size_t general_ = 0;               // whose registers and memory
  std::optional<std::size_t> continued_;  // who steps and goes on; nullopt: all, or general_
  std::string last_stop_ = "T05thread:1;";
  StepInterrupts interrupts_ = StepInterrupts::kHeld;
  bool no_acks_ = false;
  bool tells_breakpoints_ = false;
};

}  // namespace vmrun

#endif  // VMRUN_GDB_STUB_H_
