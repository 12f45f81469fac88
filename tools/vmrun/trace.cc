#include "tools/vmrun/trace.h"

#include <algorithm>
#include <iterator>
#include <string>

#include <fmt/format.h>

#include "tools/vmrun/csr.h"
#include "tools/vmrun/register_names.h"
#include "tools/vmrun/trap.h"

namespace vmrun {
namespace {

using Line = fmt::memory_buffer;

struct Word {
  std::string_view text;
  bool TraceKinds::*kind;
};
constexpr Word kWords[] = {{"insn", &TraceKinds::instructions},
                           {"block", &TraceKinds::blocks},
                           {"trap", &TraceKinds::traps},
                           {"mmio", &TraceKinds::mmio}};

template <typename... Arguments>
void add(Line& line, fmt::format_string<Arguments...> format, Arguments&&... arguments) {
  fmt::format_to(std::back_inserter(line), format, std::forward<Arguments>(arguments)...);
}

void put(Output& output, Line& line) {
  line.push_back('\n');
  output.put(std::string_view(line.data(), line.size()));
}

// The register that a CSR instruction names; nullopt: it is another instruction.
std::optional<std::uint16_t> csr_of(const BlockOp& op) {
  constexpr std::uint32_t kSystem = 0x73;
  const bool is_csr = op.bytes == 4 && (op.raw & 0x7f) == kSystem && (op.raw >> 12 & 3) != 0;
  if (!is_csr) return std::nullopt;
  return static_cast<std::uint16_t>(op.raw >> 20);
}

template <std::size_t kCount>
void add_changes(Line& line, const std::array<const char*, 32>& names,
                 const std::array<std::uint64_t, kCount>& before,
                 const std::array<std::uint64_t, kCount>& after) {
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (before[i] != after[i]) add(line, " {}={:#x}", names[i], after[i]);
  }
}

}  // namespace

std::optional<TraceKinds> parse_trace_kinds(std::string_view list) {
  TraceKinds kinds;
  for (;;) {
    const std::string_view word = list.substr(0, list.find(','));
    const auto* const known = std::find_if(std::begin(kWords), std::end(kWords),
                                           [&](const Word& one) { return one.text == word; });
    if (known == std::end(kWords)) return std::nullopt;
    kinds.*known->kind = true;
    if (word.size() == list.size()) return kinds;
    list.remove_prefix(word.size() + 1);
  }
}

void Trace::begin_instruction(const HartState& state, const BlockOp& op) {
  x_ = state.x;
  f_ = state.f;
  privilege_ = state.privilege;
  csr_ = 0;
  if (const auto number = csr_of(op)) static_cast<void>(read_csr(state, *number, csr_));
}

void Trace::end_instruction(const HartState& state, const BlockOp& op, std::uint64_t number) {
  Line line;
  add(line, "insn {} {} {} {:#x} ", state.number, number, letter_of(privilege_), op.pc);
  if (op.bytes == 2) {
    add(line, "{:04x}", op.raw);
  } else {
    add(line, "{:08x}", op.raw);
  }
  add_changes(line, kIntegerNames, x_, state.x);
  add_changes(line, kFloatNames, f_, state.f);
  std::uint64_t value = 0;
  if (const auto csr = csr_of(op); csr && read_csr(state, *csr, value) && value != csr_) {
    const char* const name = csr_name(*csr);
    add(line, " {}={:#x}", name != nullptr ? std::string(name) : fmt::format("csr{}", *csr), value);
  }
  put(*output_, line);
}

void Trace::note_block(const HartState& state, const BlockBegin& begin) {
  Line line;
  add(line, "block {} {} {} {:#x} {}", state.number, begin.retired, letter_of(begin.privilege),
      begin.pc, state.clock.retired() - begin.retired);
  put(*output_, line);
}

void Trace::note_exception(const HartState& state, const TrapRecord& record, Privilege from) {
  Line line;
  add(line, "trap {} {} {} {:#x} {} {:#x} {} {:#x} {}", state.number, record.retired,
      letter_of(from), record.pc, static_cast<std::uint64_t>(record.cause), record.tval,
      letter_of(state.privilege), state.pc, cause_name(record.cause));
  put(*output_, line);
}

void Trace::note_interrupt(const HartState& state, Interrupt interrupt, std::uint64_t pc,
                           Privilege from) {
  Line line;
  add(line, "trap {} {} {} {:#x} i{} 0x0 {} {:#x} interrupt", state.number, state.clock.retired(),
      letter_of(from), pc, static_cast<unsigned>(interrupt), letter_of(state.privilege), state.pc);
  put(*output_, line);
}

void Trace::note_access(const HartState& state, const TracedAccess& access,
                        std::string_view device) {
  Line line;
  add(line, "mmio {} {} {} {:#x} {} ", state.number, state.clock.retired(), access.kind,
      access.address, access.bytes);
  if (access.fault == vm_mem::AccessFault::kNone) {
    add(line, "{:#x} {}", access.value, device);
  } else {
    add(line, "refused {}", device);
  }
  put(*output_, line);
}

}  // namespace vmrun
