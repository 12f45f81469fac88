// The machine goes on, or executes an instruction.

#include <algorithm>

#include <fmt/format.h>

#include "tools/vmrun/gdb_registers.h"
#include "tools/vmrun/gdb_stub.h"

namespace vmrun {
GdbStub::Answer GdbStub::go_on(GdbFields fields) { return resume_at(fields, 'c'); }
GdbStub::Answer GdbStub::step(GdbFields fields) { return resume_at(fields, 's'); }

// Signals mean nothing to a machine.
GdbStub::Answer GdbStub::go_on_signalled(GdbFields fields) {
  static_cast<void>(fields.number());
  static_cast<void>(fields.skip(';'));
  return resume_at(fields, 'c');
}
GdbStub::Answer GdbStub::step_signalled(GdbFields fields) {
  static_cast<void>(fields.number());
  static_cast<void>(fields.skip(';'));
  return resume_at(fields, 's');
}

// `s` and `c` have an address to go on at; all harts go on, one steps.
GdbStub::Answer GdbStub::resume_at(GdbFields fields, char kind) {
  const std::size_t hart = continued_.value_or(general_);
  if (!fields.empty()) {
    const auto pc = fields.number();
    if (!pc || !fields.empty() || !target_.write_register(hart, kGdbPc, *pc)) {
      return kGdbMalformed;
    }
  }
  if (kind == 's') return perform({{'s', hart}});
  return perform({{'c', std::nullopt}});
}

GdbStub::Answer GdbStub::tell_actions(GdbFields) { return "vCont;c;C;s;S"; }

std::optional<GdbStub::Action> GdbStub::action_of(std::string_view text) const {
  GdbFields fields(text);
  Action action;
  if (fields.skip('c') || fields.skip('C')) action.kind = 'c';
  if (action.kind == 0 && (fields.skip('s') || fields.skip('S'))) action.kind = 's';
  if (action.kind == 0) return std::nullopt;
  static_cast<void>(fields.number());  // a signal
  if (fields.empty()) return action;
  if (!fields.skip(':')) return std::nullopt;
  if (fields.skip("-1")) return fields.empty() ? std::optional(action) : std::nullopt;
  action.hart = hart_of(fields);
  return action.hart && fields.empty() ? std::optional(action) : std::nullopt;
}

GdbStub::Answer GdbStub::resume(GdbFields fields) {
  std::vector<Action> actions;
  while (!fields.empty()) {
    const auto action = action_of(fields.until(';'));
    if (!action) return kGdbMalformed;
    actions.push_back(*action);
  }
  return perform(actions);
}

// Of several actions the first one that is for a hart counts; a hart that none is for rests.
GdbStub::Answer GdbStub::perform(const std::vector<Action>& actions) {
  std::vector<char> kinds(target_.machine().hart_count(), 0);
  HartSet running;
  for (std::size_t hart = 0; hart < kinds.size(); ++hart) {
    const auto found = std::find_if(actions.begin(), actions.end(), [&](const Action& action) {
      return action.hart.value_or(hart) == hart;
    });
    if (found == actions.end()) continue;
    kinds[hart] = found->kind;
    running.set(hart);
  }
  if (running.none()) return kGdbMalformed;
  target_.arm();
  if (std::find(kinds.begin(), kinds.end(), 's') != kinds.end()) return step_once(kinds);
  target_.machine().let_run(running);
  state_ = GdbState::kRunning;
  return std::nullopt;
}

// Harts that go on meanwhile move by an instruction as well, and may find a breakpoint.
GdbStub::Answer GdbStub::step_once(const std::vector<char>& kinds) {
  Machine& machine = target_.machine();
  std::optional<std::size_t> stepped;
  std::optional<std::size_t> broken;
  for (std::size_t hart = 0; hart < kinds.size() && !machine.finish(); ++hart) {
    if (kinds[hart] == 's') {
      machine.step(hart, interrupts_);
      if (!stepped) stepped = hart;
    } else if (kinds[hart] == 'c' && !machine.waits(hart)) {
      const bool stands = target_.breakpoint_at(target_.hart(hart).state().pc).has_value();
      if (stands) broken = hart;
      if (!stands) machine.step(hart, interrupts_);
    }
  }
  if (machine.finish()) return note_end(machine.finish()->kind == FinishKind::kFail ? 1 : 0);
  const std::size_t shown = broken.value_or(stepped.value_or(general_));
  return stopped(kGdbSigtrap, shown, broken && tells_breakpoints_ ? "swbreak:;" : "");
}

}  // namespace vmrun
