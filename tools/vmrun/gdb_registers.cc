#include "tools/vmrun/gdb_registers.h"

#include <fmt/format.h>

#include "tools/vmrun/csr.h"
#include "tools/vmrun/csr_number.h"
#include "tools/vmrun/register_names.h"

namespace vmrun {
namespace {

// M-mode, and where F's registers are meant F switched on, while it lives.
class AllRights {
 public:
  AllRights(HartState& state, std::uint16_t csr)
      : state_(&state), privilege_(state.privilege), mstatus_(state.csrs.mstatus) {
    state.privilege = Privilege::kMachine;
    is_float_ = within(csr, kFflags, kFcsr);
    if (is_float_) state.csrs.mstatus |= kMstatusFs;
  }
  AllRights(const AllRights&) = delete;
  AllRights& operator=(const AllRights&) = delete;
  ~AllRights() {
    state_->privilege = privilege_;
    if (is_float_) state_->csrs.mstatus = mstatus_;
  }

 private:
  HartState* state_;
  Privilege privilege_;
  std::uint64_t mstatus_;
  bool is_float_;
};

std::uint16_t csr_of(std::uint64_t number) { return static_cast<std::uint16_t>(number - kGdbCsr); }

bool is_csr(std::uint64_t number) {
  return number >= kGdbCsr && number < kGdbPrivilege && csr_name(csr_of(number)) != nullptr;
}

bool write_machine_register(Hart& hart, std::uint16_t csr, std::uint64_t value) {
  HartState& state = hart.state();
  {
    const AllRights rights(state, csr);
    if (!write_csr(state, csr, value)) return false;
  }
  // As if an instruction had written them, which would have counted itself.
  if (csr == kMcycle) ++state.csrs.mcycle_offset;
  if (csr == kMinstret) ++state.csrs.minstret_offset;
  if (csr_is_of_translation(csr)) hart.forget_translations();
  return true;
}

bool write_privilege(HartState& state, std::uint64_t value) {
  if (value > 3 || value == 2) return false;
  state.privilege = static_cast<Privilege>(value);
  return true;
}

const char* type_of(std::uint64_t x) {
  if (x == 1) return "code_ptr";
  return x >= 2 && x <= 4 ? "data_ptr" : "int";
}

std::string register_line(std::string_view name, std::string_view type, std::uint64_t number) {
  return fmt::format("<reg name=\"{}\" bitsize=\"64\" type=\"{}\" regnum=\"{}\"/>\n", name, type,
                     number);
}

}  // namespace

std::string gdb_target_description() {
  std::string out =
      "<?xml version=\"1.0\"?>\n<!DOCTYPE target SYSTEM \"gdb-target.dtd\">\n"
      "<target version=\"1.0\">\n<architecture>riscv:rv64</architecture>\n"
      "<feature name=\"org.gnu.gdb.riscv.cpu\">\n";
  for (std::uint64_t i = 0; i < kGdbPc; ++i) out += register_line(kIntegerNames[i], type_of(i), i);
  out += register_line("pc", "code_ptr", kGdbPc);
  out +=
      "</feature>\n<feature name=\"org.gnu.gdb.riscv.fpu\">\n<union id=\"riscv_double\">\n"
      "<field name=\"float\" type=\"ieee_single\"/>\n"
      "<field name=\"double\" type=\"ieee_double\"/>\n</union>\n";
  for (std::uint64_t i = 0; i < kFloatNames.size(); ++i) {
    out += register_line(kFloatNames[i], "riscv_double", kGdbFloat + i);
  }
  out += "</feature>\n<feature name=\"org.gnu.gdb.riscv.csr\">\n";
  for (const auto& [number, name] : csr_names())
    out += register_line(name, "int", kGdbCsr + number);
  out += "</feature>\n<feature name=\"org.gnu.gdb.riscv.virtual\">\n";
  out += register_line("priv", "int", kGdbPrivilege);
  return out + "</feature>\n</target>\n";
}

std::optional<std::uint64_t> read_gdb_register(Hart& hart, std::uint64_t number) {
  HartState& state = hart.state();
  if (number < kGdbPc) return state.x[number];
  if (number == kGdbPc) return state.pc;
  if (number < kGdbCsr) return state.f[number - kGdbFloat];
  if (number == kGdbPrivilege) return static_cast<std::uint64_t>(state.privilege);
  if (!is_csr(number)) return std::nullopt;
  const AllRights rights(state, csr_of(number));
  std::uint64_t value = 0;
  if (!read_csr(state, csr_of(number), value)) return std::nullopt;
  return value;
}

bool write_gdb_register(Hart& hart, std::uint64_t number, std::uint64_t value) {
  HartState& state = hart.state();
  if (number == 0) return true;  // and stays 0, as if an instruction had
  if (number < kGdbPc) return state.x[number] = value, true;
  if (number == kGdbPc) return (value & 1) == 0 ? state.pc = value, true : false;
  if (number < kGdbCsr) return state.f[number - kGdbFloat] = value, true;
  const bool written = number == kGdbPrivilege
                           ? write_privilege(state, value)
                           : is_csr(number) && write_machine_register(hart, csr_of(number), value);
  hart.follow_privilege();
  return written;
}

}  // namespace vmrun
