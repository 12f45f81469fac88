#include "tools/vmrun/session.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <utility>

#include <fmt/format.h>

#include "tools/command_line/signals.h"
#include "tools/vmrun/layout.h"
#include "tools/vmrun/trap.h"

namespace vmrun {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kIdleWait{10};
constexpr milliseconds kTurn{1};  // where two may be heard
constexpr std::uint64_t kTicksPerMillisecond = kTicksPerSecond / 1000;

std::uint64_t ticks_of(milliseconds time) {
  return static_cast<std::uint64_t>(time.count()) * kTicksPerMillisecond;
}

// A guest may poll the console while it does something else; after this many slices
// with nothing but polling it waits for us. One with a network may wait for that: U-Boot
// asks for seconds, and looks for Ctrl-C meanwhile.
constexpr std::uint64_t kStuckSlices = 100;
constexpr std::uint64_t kStuckSlicesOfNetwork = 5000;

// Where the machine could go on, if somebody said how.
bool is_resumable(EndKind kind) {
  return kind == EndKind::kScriptEnd || kind == EndKind::kInputEnd ||
         kind == EndKind::kInstructions || kind == EndKind::kNoPrompt || kind == EndKind::kNoWakeup;
}

// What a guest does on purpose.
bool is_call(Cause cause) {
  return cause == Cause::kEcallUser || cause == Cause::kEcallSupervisor ||
         cause == Cause::kEcallMachine;
}

}  // namespace

std::string output_loss(const Output& output) {
  const int error = output.error();
  if (error == EPIPE || error == EBADF) return "standard output is closed";
  return fmt::format("standard output: {}", std::strerror(error));
}

const char* end_name(EndKind kind) {
  switch (kind) {
    case EndKind::kPowerOff: return "power off";
    case EndKind::kReset: return "reset";
    case EndKind::kScriptEnd: return "end of script";
    case EndKind::kInputEnd: return "end of input";
    case EndKind::kInstructions: return "end of instructions";
    case EndKind::kQuit: return "quit";
    case EndKind::kSaved: return "saved";
    case EndKind::kGuestFailure: return "guest failure";
    case EndKind::kTrapLoop: return "trap loop";
    case EndKind::kTimeout: return "timeout";
    case EndKind::kNoWakeup: return "no wakeup";
    case EndKind::kNoPrompt: return "no prompt";
    case EndKind::kSignal: return "signal";
    case EndKind::kOutputLost: return "output lost";
    case EndKind::kTraceLost: return "trace lost";
    case EndKind::kConsoleLost: return "console lost";
    case EndKind::kNotSaved: return "not saved";
  }
  return "unknown";
}

Session::Session(Machine& machine, ConsolePeer& peer, HostSlots& slots, Output& output,
                 SessionLimits limits)
    : machine_(&machine),
      peer_(&peer),
      slots_(&slots),
      output_(&output),
      start_(std::chrono::steady_clock::now()),
      limits_(limits) {
  if (limits_.timeout) output_->set_deadline(start_ + *limits_.timeout);
}

void Session::follow(OutputFile& file, EndKind lost) {
  files_.push_back({&file, lost});
  if (limits_.timeout) file.output().set_deadline(start_ + *limits_.timeout);
}

SessionEnd Session::run() {
  std::optional<SessionEnd> end;
  while (!end) end = step();
  end = finish(*std::move(end));
  if (debugger_ != nullptr) debugger_->note_end(is_failure(end->kind) ? 1 : 0);
  return *std::move(end);
}

// A run whose output is lost has not succeeded, whatever the guest did.
SessionEnd Session::finish(SessionEnd end) {
  output_->clear_status();
  write_out();
  if (save_point_ != nullptr && end.kind != EndKind::kSaved && end.kind != EndKind::kNotSaved) {
    const std::string missed =
        is_save_due() ? "nothing is saved" : save_point_->missed() + ", so nothing is saved";
    end = is_failure(end.kind)
              ? SessionEnd{end.kind, end.message + "; " + missed}
              : SessionEnd{EndKind::kNotSaved, fmt::format("{}: {}", end_name(end.kind), missed)};
  }
  auto lost = check_lost();
  return lost && !is_failure(end.kind) ? *std::move(lost) : std::move(end);
}

void Session::write_out() {
  output_->flush();
  for (const Followed& followed : files_) followed.file->output().flush();
}

std::optional<SessionEnd> Session::step() {
  const GdbTurn turn = debugger_ == nullptr ? GdbTurn::kRun : debugger_->attend(kIdleWait);
  if (turn == GdbTurn::kEnd) return SessionEnd{EndKind::kQuit, ""};
  if (turn == GdbTurn::kHold) {
    peer_->attend();
    return look_around();
  }
  const StopReason reason = machine_->run(begin_slice());
  const bool due = is_save_due();
  auto end = look_around();
  if (end && !(due && is_resumable(end->kind))) return end;
  if (due && reason == StopReason::kBudget && machine_->retired() < slice_end_) {
    return save(slice_end_ - machine_->retired());
  }
  end = after(reason);
  return due && (!end || is_resumable(end->kind)) ? save(0) : std::move(end);
}

void Session::save_at(SavePoint& point) {
  save_point_ = &point;
  if (const auto count = point.instructions()) machine_->pause_at(*count);
}

bool Session::is_save_due() const {
  return save_point_ != nullptr && save_point_->is_due(machine_->retired());
}

SessionEnd Session::save(std::uint64_t slice_left) {
  const SavedSession session{.slice_left = slice_left,
                             .polls_before = polls_before_,
                             .idle_slices = idle_slices_,
                             .console_line = {},
                             .typing = peer_->unfinished()};
  const auto done = save_point_->save(session);
  if (done.ok()) return {EndKind::kSaved, *done};
  if (auto end = check_outside(); end && end->kind == EndKind::kSignal) {
    return *std::move(end);
  }
  return {EndKind::kNotSaved, std::string(done.status().message())};
}

absl::Status Session::resume(const SavedSession& saved) {
  if (saved.slice_left > kSliceInstructions) {
    return absl::DataLossError("state 'session': a slice longer than there are");
  }
  slice_left_ = saved.slice_left;
  polls_before_ = saved.polls_before;
  idle_slices_ = saved.idle_slices;
  peer_->take_over(saved.console_line, saved.typing);
  if (save_point_ != nullptr) save_point_->go_on(saved.console_line);
  return absl::OkStatus();
}

std::optional<SessionEnd> Session::look_around() {
  write_out();
  if (progress_ != nullptr) progress_->attend(Progress::Clock::now());
  if (auto end = check_finish()) return end;
  if (auto end = check_peer()) return end;
  if (auto end = check_outside()) return end;
  if (limits_.instructions && machine_->retired() >= *limits_.instructions) {
    return SessionEnd{EndKind::kInstructions, ""};
  }
  return std::nullopt;
}

// What is typed comes between slices; one that a snapshot has cut in two is one.
std::uint64_t Session::begin_slice() {
  const std::uint64_t left = std::exchange(slice_left_, 0);
  if (left == 0) feed();
  const std::uint64_t now = machine_->retired();
  slice_end_ = now + (left == 0 ? kSliceInstructions : left);
  std::uint64_t end = slice_end_;
  if (limits_.instructions) end = std::min(end, *limits_.instructions);
  return end - now;
}

std::optional<SessionEnd> Session::after(StopReason reason) {
  if (debugger_ != nullptr && debugger_->note_stop(reason)) return std::nullopt;
  switch (reason) {
    case StopReason::kTrapLoop: return trap_loop();
    case StopReason::kWait: return wait_for_interrupt();
    default: break;
  }
  idle_slices_ = guest_polls() ? idle_slices_ + 1 : 0;
  return idle_slices_ == 0 ? std::nullopt : wait_for_input();
}

void Session::feed() {
  slots_->attend();
  peer_->attend();
  while (slots_->is_typed_to()) {
    const auto byte = slots_->has_room() ? peer_->say() : std::nullopt;
    if (!byte) return;
    slots_->type(*byte);
  }
  Uart& uart = machine_->uart();
  while (uart.space() > 0) {
    const auto byte = peer_->say();
    if (!byte) return;
    uart.receive(*byte);
  }
}

bool Session::guest_polls() {
  const std::uint64_t polls = machine_->uart().idle_polls();
  const bool polling = polls >= polls_before_ + kIdlePollsPerSlice;
  polls_before_ = polls;
  return polling;
}

std::optional<SessionEnd> Session::check_finish() const {
  const auto& finish = machine_->finish();
  if (!finish) return std::nullopt;
  switch (finish->kind) {
    case FinishKind::kPowerOff: return SessionEnd{EndKind::kPowerOff, ""};
    case FinishKind::kReset: return SessionEnd{EndKind::kReset, ""};
    default:
      return SessionEnd{EndKind::kGuestFailure,
                        fmt::format("the guest reported failure {}", finish->code)};
  }
}

std::optional<SessionEnd> Session::check_peer() const {
  switch (peer_->state()) {
    case PeerState::kDone: return SessionEnd{EndKind::kScriptEnd, ""};
    case PeerState::kQuit: return SessionEnd{EndKind::kQuit, ""};
    default: return std::nullopt;
  }
}

std::optional<SessionEnd> Session::check_outside() const {
  if (const int number = command_line::noted_signal(); number != 0) {
    return SessionEnd{EndKind::kSignal, fmt::format("ended by signal: {}", strsignal(number))};
  }
  const auto elapsed = std::chrono::steady_clock::now() - start_;
  if (limits_.timeout && elapsed >= *limits_.timeout) {
    return SessionEnd{EndKind::kTimeout,
                      fmt::format("timeout: the guest still runs after {} s, {}",
                                  static_cast<double>(limits_.timeout->count()) / 1000, place())};
  }
  return check_lost();
}

std::optional<SessionEnd> Session::check_lost() const {
  if (output_->broken()) return SessionEnd{EndKind::kOutputLost, output_loss(*output_)};
  for (const auto& [file, lost] : files_) {
    if (const auto state = file->state(); !state.ok()) {
      return SessionEnd{lost, std::string(state.message())};
    }
  }
  return std::nullopt;
}

bool Session::can_hear() const { return peer_->state() == PeerState::kOpen || slots_->can_hear(); }

// For whichever may come first; where both may, by turns. Returns how long, at most.
milliseconds Session::wait(milliseconds limit) {
  const bool both = peer_->state() == PeerState::kOpen && slots_->can_hear();
  if (both) limit = std::min(limit, kTurn);
  if (slots_->can_hear()) slots_->wait(both ? milliseconds(0) : limit);
  if (peer_->state() == PeerState::kOpen) peer_->wait(limit);
  return limit;
}

// Where the guest is, and what befell it last: one that faults again and again shows.
std::string Session::place() const {
  Hart& hart = machine_->hart();
  const std::string at = fmt::format("at pc 0x{:x}", hart.state().pc);
  const auto trap = hart.trap_watch().latest();
  if (!trap || is_call(trap->cause)) return at;
  return at + fmt::format("; its last exception was: {} at pc 0x{:x}", cause_name(trap->cause),
                          trap->pc);
}

// Where nothing can come from outside, the time until the timer passes at once.
std::optional<SessionEnd> Session::wait_for_interrupt() {
  if (machine_->can_wake()) return std::nullopt;
  const std::uint64_t ticks = machine_->ticks_to_timer();
  if (!can_hear()) {
    if (ticks == UINT64_MAX) {
      return stuck({EndKind::kNoWakeup,
                    fmt::format("the guest waits at pc 0x{:x} for an interrupt that cannot come",
                                machine_->hart().state().pc)});
    }
    machine_->skip(ticks);
    return std::nullopt;
  }
  const std::uint64_t skipped = std::min(ticks, ticks_of(kIdleWait));
  const milliseconds whole(skipped / kTicksPerMillisecond);
  const milliseconds waited = wait(whole);
  machine_->skip(waited < whole ? ticks_of(waited) : skipped);
  return std::nullopt;
}

std::optional<SessionEnd> Session::wait_for_input() {
  if (peer_->state() == PeerState::kOpen) {
    machine_->skip(ticks_of(wait(kIdleWait)));
    return std::nullopt;
  }
  if (slots_->can_hear()) slots_->wait(kIdleWait);
  if (idle_slices_ < (slots_->has_network() ? kStuckSlicesOfNetwork : kStuckSlices)) {
    return std::nullopt;
  }
  if (peer_->state() == PeerState::kClosed) return stuck({EndKind::kInputEnd, ""});
  return stuck(
      {EndKind::kNoPrompt, "the guest waits for input, but does not show the prompt '=> '"});
}

// With a debugger it is for that one to say what comes next.
std::optional<SessionEnd> Session::stuck(SessionEnd end) {
  idle_slices_ = 0;
  if (debugger_ != nullptr && debugger_->note_stuck()) return std::nullopt;
  return end;
}

SessionEnd Session::trap_loop() const {
  const TrapWatch& watch = machine_->hart().trap_watch();
  const TrapRecord& first = watch.first();
  const char* what =
      first.retired == 0 ? "the firmware faults at its first instruction" : "trap loop";
  return {EndKind::kTrapLoop,
          fmt::format("{}: {} at pc 0x{:x} (mtval 0x{:x}); its handler traps again at pc 0x{:x}",
                      what, cause_name(first.cause), first.pc, first.tval, watch.last_pc())};
}

}  // namespace vmrun
