// A debugger that says anything: bytes as they come, to a machine that stands or runs.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <stdexcept>
#include <string_view>
#include <vector>

#include "tests/support/fuzz_target.h"
#include "tools/vmrun/gdb_protocol.h"
#include "tools/vmrun/gdb_stub.h"

namespace vmrun {
namespace {

constexpr std::uint64_t kInstructions = 50;

// Counts, and makes system calls that come back.
std::unique_ptr<Machine> make_machine() {
  static const std::vector<std::uint32_t> kCode = {
      0x00000297,  // auipc t0, 0
      0x01428293,  // addi t0, t0, 20
      0x30529073,  // csrw mtvec, t0
      0x00150513,  // addi a0, a0, 1
      0x00000073,  // ecall
      0xff9ff06f,  // handler: j to the addi
  };
  MachineOptions options;
  options.memory_bytes = 16 << 20;
  options.harts = 2;
  options.console = [](char) {};
  auto machine = Machine::create(std::move(options));
  if (!machine.ok()) return nullptr;
  const BootFiles files{.firmware = {"f", std::as_bytes(std::span(kCode))}};
  return (*machine)->boot(files).ok() ? *std::move(machine) : nullptr;
}

void go_on(Machine& machine, GdbStub& stub) {
  if (stub.state() == GdbState::kRunning) {
    switch (machine.run(kInstructions)) {
      case StopReason::kBreakpoint: static_cast<void>(stub.note_breakpoint()); break;
      case StopReason::kTrapLoop: static_cast<void>(stub.note_trap_loop()); break;
      default: static_cast<void>(stub.note_interrupt());
    }
  }
  if (stub.state() != GdbState::kStopped) stub.reset();
}

// The packets are lines, so that the fuzzer need not learn to add; what frames them is tried
// on all of it.
void run_session(std::string_view bytes) {
  const auto machine = make_machine();
  if (machine == nullptr) return;
  GdbPacketReader reader;
  std::string_view framed = bytes;
  while (reader.take(framed)) {
  }
  GdbStub stub(*machine);
  GdbFields lines(bytes);
  while (!lines.empty()) {
    const auto answer = stub.answer(lines.until('\n'));
    if (answer && answer->size() > kGdbPacketBytes) throw std::logic_error("an overlong answer");
    go_on(*machine, stub);
  }
  stub.let_go();
  if (machine->run(kInstructions) == StopReason::kBreakpoint) {
    throw std::logic_error("a breakpoint is left");
  }
}

}  // namespace
}  // namespace vmrun

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  vmrun::run_session({reinterpret_cast<const char*>(data), size});
  return 0;
}
