#include "vm_engine/internal/a64_emission.h"

#include <bit>
#include <span>
#include <string>

#include "absl/strings/str_format.h"
#include "vm_engine/vm_engine.h"

namespace vm_engine::internal::aarch64 {
namespace {

namespace a64 = asmjit::a64;

// The procedure call standard lets veneers have it: no argument, nothing that lasts.
constexpr Reg kCallTarget = Reg::kX16;

a64::Mem stack_slot(std::int32_t offset) { return a64::ptr(a64::sp, offset); }

a64::Mem fault_field(Reg cpu, std::size_t offset) {
  return a64::ptr(x_reg(cpu), static_cast<std::int32_t>(VME_CPU_FAULT_OFFSET + offset));
}

std::vector<std::byte> bytes_of(const A64Code& code) {
  const auto& made = code.holder.textSection()->buffer();
  const auto* const bytes = reinterpret_cast<const std::byte*>(made.data());
  return {bytes, bytes + made.size()};
}

}  // namespace

Reg A64Emission::take_scratch(RegSet& taken) {
  RegSet free = config_.scratch & ~taken;
  if (free == 0) {
    fail(absl::FailedPreconditionError(
        absl::StrFormat("the code takes more scratch registers than there are: %#x, of which %#x "
                        "are in use",
                        config_.scratch, config_.scratch & taken)));
    return Reg::kX0;
  }
  const auto reg = static_cast<Reg>(take_lowest(free));
  taken |= reg_bit(reg);
  return reg;
}

asmjit::Label A64Emission::branch_label(A64Code& code, const asmjit::Label& in_slow) {
  if (&code == &slow) return in_slow;
  entries_.push_back({line.bytes(), in_slow});
  return line.assembler.newLabel();
}

void A64Emission::site(const asmjit::Label& pad, std::uint8_t side, std::uint64_t bytes,
                       std::uint64_t adj) {
  const bool writes = side == VME_SIDE_DESTINATION;
  pads_.push_back({out_.first_site + out_.sites.size(), pad});
  out_.sites.push_back(
      {.pc_off = static_cast<std::uint32_t>(out_.origin + line.bytes()),
       .land_off = 0,
       .access = static_cast<std::uint8_t>(writes ? VME_ACCESS_WRITE : VME_ACCESS_READ),
       .size_log2 = static_cast<std::uint8_t>(std::bit_width(bytes - 1)),
       .side = side,
       .flags = site_flags(config_),
       .cookie = config_.cookie,
       .adj = static_cast<std::uint16_t>(adj),
       .guest_pc = config_.guest_pc});
}

void A64Call::add_size(Reg to, CopySize size) {
  if (!size.in_register()) {
    constants.emplace_back(to, size.bytes());
    return;
  }
  moves.emplace_back(to, size.reg());
  if (size.is_low_half()) low_halves |= reg_bit(to);
}

void A64Emission::write_arguments(A64Code& code, const A64Call& call, Reg spare) {
  code.move_together(call.moves, spare);
  for (RegSet left = call.low_halves; left != 0;) {
    const auto low = a64::w(take_lowest(left));
    code.assembler.mov(low, low);
  }
  if (call.adjust) call.adjust(code);
  for (const auto& [reg, value] : call.constants) code.load_constant(reg, value);
}

void A64Emission::call(A64Code& code, const A64Frame& frame, const A64Call& call) {
  if (call.helper == 0) {
    fail(absl::InvalidArgumentError(absl::StrFormat(
        "helpers.%s is 0: code for another ISA needs its address", std::string(call.name))));
  }
  a64::Assembler& assembler = code.assembler;
  write_arguments(code, call, kCallTarget);
  const asmjit::Imm flags(a64::Predicate::SysReg::kNZCV);
  assembler.mrs(x_reg(kCallTarget), flags);
  assembler.str(x_reg(kCallTarget), stack_slot(frame.flags_slot()));
  assembler.str(a64::x(0), stack_slot(frame.cpu_slot()));
  code.load_constant(kCallTarget, call.helper);
  assembler.blr(x_reg(kCallTarget));
  assembler.ldr(x_reg(kCallTarget), stack_slot(frame.flags_slot()));
  assembler.msr(flags, x_reg(kCallTarget));
}

void A64Emission::call_stub(const A64Call& arguments, std::uint32_t stub) {
  write_arguments(line, arguments, Reg::kX30);
  out_.stub_calls.push_back({out_.origin + line.bytes(), stub});
  line.assembler.bl(line.assembler.newLabel());
}

void A64Emission::call_host(A64Code& code, const A64Call& host_call, RegSet also_kept) {
  const A64Frame frame(config_, also_kept, 0);
  frame.enter(code);
  call(code, frame, host_call);
  frame.leave(code, 0);
}

void A64Emission::call_guest(A64Code& code, const A64Call& guest_call) {
  const A64Frame frame(config_, 0, 0);
  frame.enter(code);
  call(code, frame, guest_call);
  if (config_.result != Reg::kX0) code.assembler.mov(x_reg(config_.result), a64::x(0));
  frame.leave(code, reg_bit(config_.result));
}

void A64Emission::call_or_exit(A64Code& code, const A64Call& guest_call) {
  const A64Frame frame(config_, 0, 0);
  frame.enter(code);
  call(code, frame, guest_call);
  const asmjit::Label failed = slow.assembler.newLabel();
  code.assembler.cbnz(a64::x(0), branch_label(code, failed));
  frame.leave(code, 0);
  go_back(code);
  fail_at(failed, frame, Reg::kX0, Progress::kAsReported);
}

void A64Emission::finish_rest(const A64Frame& frame, const A64Call& guest_call) {
  call(slow, frame, guest_call);
  const asmjit::Label failed = slow.assembler.newLabel();
  slow.assembler.cbnz(a64::x(0), failed);
  frame.leave(slow, 0);
  go_back(slow);
  fail_at(failed, frame, Reg::kX0, Progress::kAddsToDone);
}

void A64Emission::load_or_exit(const A64Call& guest_call, const AccessRequest& request) {
  const A64Frame frame(config_, reg_bit(request.reg), 0);
  frame.enter(slow);
  call(slow, frame, guest_call);
  const asmjit::Label failed = slow.assembler.newLabel();
  slow.assembler.cbnz(a64::x(1), failed);
  if (request.op.order == ByteOrder::kBig) {
    slow.swap_bytes(Reg::kX0, Reg::kX0, request.op.bytes);
  }
  slow.extend(request.reg, Reg::kX0, request.op);
  frame.leave(slow, reg_bit(request.reg));
  go_back(slow);
  fail_at(failed, frame, Reg::kX1, Progress::kAsReported);
}

void A64Emission::go_back(A64Code& code) {
  if (&code == &line) return;
  ways_back_.push_back(slow.bytes());
  slow.assembler.b(slow.assembler.newLabel());
}

void A64Emission::fail_at(const asmjit::Label& failed, const A64Frame& frame, Reg left,
                          Progress progress) {
  if (!exit_.isValid()) exit_ = slow.assembler.newLabel();
  slow.assembler.bind(failed);
  describe_fault(frame, progress);
  if (config_.result != left) slow.assembler.mov(x_reg(config_.result), x_reg(left));
  frame.leave(slow, reg_bit(config_.result));
  slow.assembler.b(exit_);
}

// The frame keeps x9 to x11 where they matter.
void A64Emission::describe_fault(const A64Frame& frame, Progress progress) {
  a64::Assembler& assembler = slow.assembler;
  const Reg cpu = Reg::kX9;
  assembler.ldr(x_reg(cpu), stack_slot(frame.cpu_slot()));
  if (progress == Progress::kAddsToDone) {
    assembler.ldr(a64::x10, stack_slot(frame.done_slot()));
    assembler.ldr(a64::x11, fault_field(cpu, offsetof(vme_fault, done)));
    assembler.add(a64::x10, a64::x10, a64::x11);
    assembler.str(a64::x10, fault_field(cpu, offsetof(vme_fault, done)));
  }
  if (config_.cookie != VME_NO_SITE) {
    slow.load_constant(Reg::kX10, config_.cookie);
    assembler.strh(a64::w10, fault_field(cpu, offsetof(vme_fault, site)));
  }
  if (config_.guest_pc != 0) {
    slow.load_constant(Reg::kX10, config_.guest_pc);
    assembler.str(a64::x10, fault_field(cpu, offsetof(vme_fault, guest_pc)));
  }
}

void A64Emission::write_exit() {
  slow.assembler.bind(exit_);
  if (config_.exit.is_offset()) {
    ways_out_.push_back(slow.bytes());
    slow.assembler.b(slow.assembler.newLabel());
    return;
  }
  // Where the standard's own registers for jumps are scratch nobody expects a value in them.
  const RegSet kept = needed(config_) | operands_ | reg_bit(config_.result);
  constexpr RegSet kJumpRegisters = reg_bit(Reg::kX16) | reg_bit(Reg::kX17);
  RegSet taken = kept;
  if ((config_.scratch & kJumpRegisters & ~kept) != 0) taken |= ~kJumpRegisters;
  const Reg target = take_scratch(taken);
  slow.load_constant(target, config_.exit.value());
  slow.assembler.br(x_reg(target));
}

absl::Status A64Emission::error() const {
  if (!failed_.ok()) return failed_;
  for (const A64Code* code : {&line, &slow}) {
    if (code->error.value == asmjit::kErrorOk) continue;
    return absl::InternalError(asmjit::DebugUtils::errorAsString(code->error.value));
  }
  return absl::OkStatus();
}

absl::Status A64Emission::finish() {
  if (exit_.isValid()) write_exit();
  if (absl::Status bad = error(); !bad.ok()) return bad;
  out_.code = bytes_of(line);
  if (slow.bytes() == 0) return absl::OkStatus();
  const auto offset_of = [&](const asmjit::Label& label) {
    return static_cast<std::size_t>(slow.holder.labelOffset(label));
  };
  SlowPath path;
  path.isa = Isa::kAArch64;
  path.code = bytes_of(slow);
  for (const Link& link : entries_) {
    path.entries.push_back({out_.origin + link.from, offset_of(link.to)});
  }
  for (const Link& pad : pads_) path.pads.push_back({pad.from, offset_of(pad.to)});
  for (const std::size_t from : ways_back_) {
    path.leaves.push_back({from, out_.origin + out_.code.size()});
  }
  for (const std::size_t from : ways_out_) {
    path.leaves.push_back({from, static_cast<std::size_t>(config_.exit.value())});
  }
  out_.slow = std::move(path);
  return absl::OkStatus();
}

}  // namespace vm_engine::internal::aarch64
