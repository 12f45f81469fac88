#include "tools/vmrun/gdb_stub.h"

#include <algorithm>
#include <iterator>

#include <fmt/format.h>

#include "tools/vmrun/gdb_registers.h"
#include "tools/vmrun/register_names.h"

namespace vmrun {
namespace {

// Errors have numbers, which GDB shows and does nothing about: those of errno.
constexpr const char* kNoSuchRegister = "E02";
constexpr const char* kNoSuchThread = "E03";
constexpr const char* kNoSpace = "E0c";
constexpr const char* kBadAddress = "E0e";
constexpr const char* kDone = "OK";

constexpr unsigned kSigint = 2;
constexpr unsigned kSigsegv = 11;
constexpr std::size_t kRegisterDigits = 16;

// Registers go as their bytes in memory would.
std::string register_hex(std::uint64_t value) {
  return hex_of(std::as_bytes(std::span(&value, 1)));
}

std::optional<std::uint64_t> register_value(std::string_view hex) {
  const auto bytes = bytes_of_hex(hex);
  if (!bytes || bytes->size() != sizeof(std::uint64_t)) return std::nullopt;
  std::uint64_t value = 0;
  std::copy(bytes->begin(), bytes->end(), reinterpret_cast<char*>(&value));
  return value;
}

}  // namespace

// A name that is the beginning of another one comes after it.
const GdbStub::Command GdbStub::kCommands[] = {
    {"?", &GdbStub::tell_stop},
    {"g", &GdbStub::read_general},
    {"G", &GdbStub::write_general},
    {"p", &GdbStub::read_register},
    {"P", &GdbStub::write_register},
    {"m", &GdbStub::read_memory},
    {"M", &GdbStub::write_memory},
    {"X", &GdbStub::write_binary},
    {"Z", &GdbStub::insert},
    {"z", &GdbStub::remove},
    {"c", &GdbStub::go_on},
    {"C", &GdbStub::go_on_signalled},
    {"s", &GdbStub::step},
    {"S", &GdbStub::step_signalled},
    {"vCont?", &GdbStub::tell_actions},
    {"vCont;", &GdbStub::resume},
    {"H", &GdbStub::select},
    {"T", &GdbStub::is_alive},
    {"D", &GdbStub::detach},
    {"k", &GdbStub::kill},
    {"qSupported", &GdbStub::supported},
    {"QStartNoAckMode", &GdbStub::stop_acks},
    {"qXfer:features:read:target.xml:", &GdbStub::description},
    {"qfThreadInfo", &GdbStub::first_threads},
    {"qsThreadInfo", &GdbStub::more_threads},
    {"qThreadExtraInfo,", &GdbStub::thread_info},
    {"qC", &GdbStub::current_thread},
    {"qAttached", &GdbStub::attached},
    {"qRcmd,", &GdbStub::monitor},
};

// The words of the q and v packets are whole ones.
bool GdbStub::is_for(const Command& command, std::string_view packet) {
  if (!packet.starts_with(command.name)) return false;
  constexpr std::string_view kEnds = ":;,?";
  const std::string_view rest = packet.substr(command.name.size());
  const bool is_word =
      command.name.size() > 1 && kEnds.find(command.name.back()) == std::string_view::npos;
  return !is_word || rest.empty() || kEnds.find(rest.front()) != std::string_view::npos;
}

GdbStub::Answer GdbStub::answer(std::string_view packet) {
  const auto* const command = std::find_if(std::begin(kCommands), std::end(kCommands),
                                           [&](const Command& one) { return is_for(one, packet); });
  if (command == std::end(kCommands)) return "";
  return (this->*command->run)(GdbFields(packet.substr(command->name.size())));
}

GdbStub::Answer GdbStub::tell_stop(GdbFields) { return last_stop_; }

GdbStub::Answer GdbStub::read_general(GdbFields) {
  std::string out;
  for (std::uint64_t number = 0; number < kGdbGeneral; ++number) {
    out += register_hex(read_gdb_register(target_.hart(general_), number).value_or(0));
  }
  return out;
}

GdbStub::Answer GdbStub::write_general(GdbFields fields) {
  const std::string_view hex = fields.rest();
  if (hex.size() != kGdbGeneral * kRegisterDigits) return kGdbMalformed;
  for (std::uint64_t number = 0; number < kGdbGeneral; ++number) {
    const auto value = register_value(hex.substr(number * kRegisterDigits, kRegisterDigits));
    if (!value || !target_.write_register(general_, number, *value)) return kGdbMalformed;
  }
  return kDone;
}

GdbStub::Answer GdbStub::read_register(GdbFields fields) {
  const auto number = fields.number();
  if (!number || !fields.empty()) return kGdbMalformed;
  const auto value = read_gdb_register(target_.hart(general_), *number);
  return value ? register_hex(*value) : kNoSuchRegister;
}

GdbStub::Answer GdbStub::write_register(GdbFields fields) {
  const auto number = fields.number();
  if (!number || !fields.skip('=')) return kGdbMalformed;
  const auto value = register_value(fields.rest());
  if (!value) return kGdbMalformed;
  return target_.write_register(general_, *number, *value) ? kDone : kNoSuchRegister;
}

GdbStub::Answer GdbStub::read_memory(GdbFields fields) {
  const auto address = fields.number();
  const bool separated = fields.skip(',');
  const auto bytes = fields.number();
  if (!address || !separated || !bytes || !fields.empty()) return kGdbMalformed;
  const std::uint64_t most = kGdbPacketBytes / 2;
  const std::string read =
      target_.read_memory(general_, *address, static_cast<std::size_t>(std::min(*bytes, most)));
  return read.empty() && *bytes != 0 ? kBadAddress : hex_of(read);
}

GdbStub::Answer GdbStub::write_memory(GdbFields fields) {
  const auto address = fields.number();
  const bool separated = fields.skip(',');
  const auto bytes = fields.number();
  if (!address || !separated || !bytes || !fields.skip(':')) return kGdbMalformed;
  const auto data = bytes_of_hex(fields.rest());
  if (!data || data->size() != *bytes) return kGdbMalformed;
  return target_.write_memory(general_, *address, *data) ? kDone : kBadAddress;
}

GdbStub::Answer GdbStub::write_binary(GdbFields fields) {
  const auto address = fields.number();
  const bool separated = fields.skip(',');
  const auto bytes = fields.number();
  if (!address || !separated || !bytes || !fields.skip(':')) return kGdbMalformed;
  const auto data = gdb_unescape(fields.rest());
  if (!data || data->size() != *bytes) return kGdbMalformed;
  return target_.write_memory(general_, *address, *data) ? kDone : kBadAddress;
}

// Watchpoints are not supported: GDB steps instead.
GdbStub::Answer GdbStub::insert(GdbFields fields) {
  const auto kind = fields.number();
  if (kind && *kind > 1) return "";
  const bool separated = fields.skip(',');
  const auto address = fields.number();
  if (!kind || !separated || !address) return kGdbMalformed;
  return target_.insert(static_cast<BreakpointKind>(*kind), *address) ? kDone : kNoSpace;
}

GdbStub::Answer GdbStub::remove(GdbFields fields) {
  const auto kind = fields.number();
  if (kind && *kind > 1) return "";
  const bool separated = fields.skip(',');
  const auto address = fields.number();
  if (!kind || !separated || !address) return kGdbMalformed;
  target_.remove(static_cast<BreakpointKind>(*kind), *address);
  return kDone;
}

// Of a thread's number; the fields are past it. 0 is any.
std::optional<std::size_t> GdbStub::hart_of(GdbFields& fields) const {
  GdbFields after = fields;
  const auto thread = after.number();
  if (!thread || *thread > target_.machine().hart_count()) return std::nullopt;
  fields = after;
  return *thread == 0 ? general_ : static_cast<std::size_t>(*thread) - 1;
}

GdbStub::Answer GdbStub::select(GdbFields fields) {
  const bool general = fields.skip('g');
  if (!general && !fields.skip('c')) return kGdbMalformed;
  const bool all = fields.skip("-1");
  const auto hart = all ? std::optional(general_) : hart_of(fields);
  if (!hart) return kNoSuchThread;
  if (!fields.empty()) return kGdbMalformed;
  if (general) general_ = *hart;
  if (!general) continued_ = all ? std::nullopt : hart;
  return kDone;
}

GdbStub::Answer GdbStub::is_alive(GdbFields fields) {
  return hart_of(fields) && fields.empty() ? kDone : kNoSuchThread;
}

GdbStub::Answer GdbStub::detach(GdbFields) {
  let_go();
  return kDone;
}

GdbStub::Answer GdbStub::kill(GdbFields) {
  state_ = GdbState::kKilled;
  return std::nullopt;
}

GdbStub::Answer GdbStub::supported(GdbFields fields) {
  tells_breakpoints_ = fields.rest().find("swbreak+") != std::string_view::npos;
  return fmt::format(
      "PacketSize={:x};qXfer:features:read+;QStartNoAckMode+;vContSupported+;swbreak+;hwbreak+",
      kGdbPacketBytes);
}

GdbStub::Answer GdbStub::stop_acks(GdbFields) {
  no_acks_ = true;
  return kDone;
}

GdbStub::Answer GdbStub::description(GdbFields fields) {
  const auto offset = fields.number();
  const bool separated = fields.skip(',');
  const auto bytes = fields.number();
  if (!offset || !separated || !bytes || !fields.empty()) return kGdbMalformed;
  const std::string all = gdb_target_description();
  if (*offset > all.size()) return kGdbMalformed;
  // An escape takes two bytes.
  const std::size_t most = std::min<std::uint64_t>(*bytes, kGdbPacketBytes / 2 - 1);
  const std::string_view part = std::string_view(all).substr(*offset, most);
  const bool is_last = *offset + part.size() == all.size();
  std::string out(1, is_last ? 'l' : 'm');
  return out += gdb_escape(part);
}

GdbStub::Answer GdbStub::first_threads(GdbFields) {
  std::string out = "m";
  for (std::size_t hart = 0; hart < target_.machine().hart_count(); ++hart) {
    out += fmt::format("{}{:x}", hart == 0 ? "" : ",", hart + 1);
  }
  return out;
}

GdbStub::Answer GdbStub::more_threads(GdbFields) { return "l"; }

GdbStub::Answer GdbStub::current_thread(GdbFields) { return fmt::format("QC{:x}", general_ + 1); }

GdbStub::Answer GdbStub::thread_info(GdbFields fields) {
  const auto hart = hart_of(fields);
  if (!hart) return kNoSuchThread;
  const HartState& state = target_.hart(*hart).state();
  return hex_of(fmt::format("hart {}, {}-mode{}", *hart, letter_of(state.privilege),
                            target_.machine().waits(*hart) ? ", waiting" : ""));
}

// So that GDB detaches when it quits, and does not kill.
GdbStub::Answer GdbStub::attached(GdbFields) { return "1"; }

std::string GdbStub::stopped(unsigned signal, std::size_t hart, std::string_view reason) {
  state_ = GdbState::kStopped;
  general_ = hart;
  last_stop_ = fmt::format("T{:02x}thread:{:x};{}", signal, hart + 1, reason);
  return last_stop_;
}

std::string GdbStub::note_breakpoint() {
  const HartState& state = target_.machine().hart().state();
  const auto kind = target_.breakpoint_at(state.pc);
  std::string_view reason;
  if (kind && tells_breakpoints_) {
    reason = *kind == BreakpointKind::kSoftware ? "swbreak:;" : "hwbreak:;";
  }
  return stopped(kGdbSigtrap, static_cast<std::size_t>(state.number), reason);
}

std::string GdbStub::note_trap_loop() {
  return stopped(kSigsegv, static_cast<std::size_t>(target_.machine().hart().state().number), "");
}

std::string GdbStub::note_interrupt() {
  return stopped(kSigint, static_cast<std::size_t>(target_.machine().hart().state().number), "");
}

// No signal: it has just stopped.
std::string GdbStub::note_stuck() {
  return stopped(0, static_cast<std::size_t>(target_.machine().hart().state().number), "");
}

std::string GdbStub::note_end(int status) {
  state_ = GdbState::kStopped;
  last_stop_ = fmt::format("W{:02x}", static_cast<unsigned>(status) & 0xffu);
  return last_stop_;
}

void GdbStub::reset() {
  target_.remove_all();
  target_.set_device_access(DeviceAccess::kRefused);
  state_ = GdbState::kStopped;
  general_ = static_cast<std::size_t>(target_.machine().hart().state().number);
  continued_.reset();
  last_stop_ = fmt::format("T05thread:{:x};", general_ + 1);
  interrupts_ = StepInterrupts::kHeld;
  no_acks_ = false;
  tells_breakpoints_ = false;
}

void GdbStub::let_go() {
  reset();
  target_.arm();
  target_.machine().let_run(~HartSet());
  state_ = GdbState::kDetached;
}

}  // namespace vmrun
