// GDB's `monitor` command.

#include <fmt/format.h>

#include "tools/vmrun/gdb_stub.h"
#include "tools/vmrun/register_names.h"

namespace vmrun {
namespace {

constexpr std::string_view kHelp =
    "info                  what each hart does\n"
    "translate ADDRESS     where a virtual address (hexadecimal) is in physical memory\n"
    "devices on|off        whether memory commands reach devices: reading may change them [off]\n"
    "interrupts hold|take  what steps do about an interrupt that is due [hold]\n";

}  // namespace

GdbStub::Answer GdbStub::monitor(GdbFields fields) {
  const auto line = bytes_of_hex(fields.rest());
  return line ? hex_of(monitor_text(*line)) : kGdbMalformed;
}

std::string GdbStub::monitor_text(std::string_view line) {
  if (line == "help") return std::string(kHelp);
  if (line == "info") return machine_info();
  GdbFields fields(line);
  if (fields.skip("translate ")) return translation(fields);
  if (line == "devices on" || line == "devices off") {
    target_.set_device_access(line == "devices on" ? DeviceAccess::kPermitted
                                                   : DeviceAccess::kRefused);
    return "done\n";
  }
  if (line == "interrupts hold" || line == "interrupts take") {
    interrupts_ = line == "interrupts take" ? StepInterrupts::kTaken : StepInterrupts::kHeld;
    return "done\n";
  }
  return "unknown; \"monitor help\" lists the commands\n";
}

std::string GdbStub::machine_info() {
  std::string out;
  for (std::size_t hart = 0; hart < target_.machine().hart_count(); ++hart) {
    const HartState& state = target_.hart(hart).state();
    out += fmt::format("hart {}: {}-mode, pc 0x{:x}, {} instructions{}\n", hart,
                       letter_of(state.privilege), state.pc, state.clock.retired(),
                       target_.machine().waits(hart) ? ", waiting" : "");
  }
  return out;
}

std::string GdbStub::translation(GdbFields fields) {
  static_cast<void>(fields.skip("0x"));
  const auto address = fields.number();
  if (!address || !fields.empty()) return "an address in hexadecimal is needed\n";
  const auto physical = target_.physical(general_, *address);
  if (!physical) return fmt::format("0x{:x} is not mapped\n", *address);
  return fmt::format("0x{:x} is at physical 0x{:x}\n", *address, *physical);
}

}  // namespace vmrun
