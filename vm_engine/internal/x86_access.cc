#include "vm_engine/internal/x86_access.h"

#include <algorithm>
#include <bit>

#include "absl/strings/str_format.h"
#include "vm_engine/internal/x86_address.h"
#include "vm_engine/internal/x86_fragment.h"
#include "vm_engine/internal/x86_plan.h"
#include "vm_engine/vm_engine.h"

namespace vm_engine::internal {
namespace {

namespace x86 = asmjit::x86;

// Of a copy's flags, those that one word can have.
constexpr std::uint32_t kWordFlags =
    0xff | VME_NO_MMIO | VME_ONCE | VME_ORDER_ACQREL_ENDS | VME_ORDER_TSO_ELEM;

std::uint32_t flags_of(const EmitConfig& config, MemOp op) {
  const auto element = static_cast<std::uint32_t>(std::countr_zero(op.bytes)) << VME_ELEM_SHIFT;
  return (config.flags & kWordFlags) | element;
}

void swap_bytes(X86Code& code, Reg reg, unsigned bytes) {
  if (bytes == 2) code->rol(gp(reg, 2), 8);
  if (bytes == 4) code->bswap(gp(reg, 4));
  if (bytes == 8) code->bswap(gp(reg));
}

void extend_sign(X86Code& code, Reg to, const asmjit::Operand_& from, unsigned bytes) {
  const std::uint32_t id = bytes == 4 ? x86::Inst::kIdMovsxd : x86::Inst::kIdMovsx;
  code->emit(id, gp(to), from);
}

bool extends_sign(MemOp op) { return op.extend == Extend::kSign && op.bytes < 8; }
bool is_swapped(MemOp op) { return op.order == ByteOrder::kBig && op.bytes > 1; }

// From what the memory holds, zero-extended, to what the register is to hold.
void convert(X86Code& code, Reg reg, MemOp op) {
  if (is_swapped(op)) swap_bytes(code, reg, op.bytes);
  if (extends_sign(op)) extend_sign(code, reg, gp(reg, op.bytes), op.bytes);
}

void load_from(X86Code& code, Reg dst, const x86::Mem& from, MemOp op) {
  if (extends_sign(op) && !is_swapped(op)) return extend_sign(code, dst, from, op.bytes);
  code.load_word(dst, from);
  convert(code, dst, op);
}

absl::Status check_free(RegSet free, int wanted) {
  const int there = std::popcount(free);
  if (there >= wanted) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrFormat("the access takes %d scratch registers apart from its operands; there are %d",
                      wanted, there));
}

int temporaries_of(const EmitConfig& config) {
  if (config.address_mode == AddressMode::kSoftTlb) return 2;
  const bool checked =
      config.address_mode == AddressMode::kFastmem && config.gva_bits > config.arena_bits;
  return checked ? 1 : 0;
}

absl::Status check_helper(std::uint64_t address) {
  if (address != 0) return absl::OkStatus();
  return absl::InvalidArgumentError("the helper's address is not given");
}

void slow_load(X86Fragment& out, const EmitConfig& config, const AccessRequest& request) {
  // The register keeps its value where the load fails.
  const X86Frame frame(config, free_registers(config, reg_bit(request.reg)));
  out.pad(0, out.sites());
  frame.enter(out.slow);
  out.slow.move_together({{Reg::kRdi, config.cpu}, {Reg::kRsi, request.gva}});
  out.slow->mov(x86::edx, flags_of(config, request.op));
  out.call(frame, config.helpers.load);
  out.exit_if(frame, Reg::kRdx);
  convert(out.slow, Reg::kRax, request.op);
  frame.set(out.slow, request.reg, Reg::kRax);
  frame.leave(out.slow);
  out.back();
}

void slow_store(X86Fragment& out, const EmitConfig& config, const AccessRequest& request) {
  const X86Frame frame(config, free_registers(config, 0));
  out.pad(0, out.sites());
  frame.enter(out.slow);
  out.slow.move_together(
      {{Reg::kRdi, config.cpu}, {Reg::kRsi, request.gva}, {Reg::kRdx, request.reg}});
  if (is_swapped(request.op)) swap_bytes(out.slow, Reg::kRdx, request.op.bytes);
  out.slow->mov(x86::ecx, flags_of(config, request.op));
  out.call(frame, config.helpers.store);
  out.exit_if(frame, Reg::kRax);
  frame.leave(out.slow);
  out.back();
}

}  // namespace

absl::Status x86_load(const EmitConfig& config, const AccessRequest& request, Fragment& made) {
  RegSet free = free_registers(config, operands_of(request));
  if (absl::Status bad = check_free(free, temporaries_of(config)); !bad.ok()) return bad;
  X86Fragment out(config, made);
  if (config.address_mode == AddressMode::kGuest) {
    out.to_slow(out.hot.jump());
  } else {
    const GuestRange range{request.gva, request.op.bytes, VME_ACCESS_READ, VME_SIDE_SOURCE};
    const Reg temporary = free == 0 ? Reg::kRax : take_lowest_reg(free);
    const HostOperand place = address_of(out, config, range, free, temporary);
    out.site(range, request.op.bytes, 0);
    load_from(out.hot, request.reg, place.at(0, request.op.bytes), request.op);
  }
  if (is_guest(config)) {
    if (absl::Status bad = check_helper(config.helpers.load); !bad.ok()) return bad;
    slow_load(out, config, request);
  }
  return out.finish();
}

absl::Status x86_store(const EmitConfig& config, const AccessRequest& request, Fragment& made) {
  RegSet free = free_registers(config, operands_of(request));
  const bool inline_swap = is_swapped(request.op) && config.address_mode != AddressMode::kGuest;
  const int wanted = std::max(temporaries_of(config), inline_swap ? 1 : 0);
  if (absl::Status bad = check_free(free, wanted); !bad.ok()) return bad;
  X86Fragment out(config, made);
  if (config.address_mode == AddressMode::kGuest) {
    out.to_slow(out.hot.jump());
  } else {
    const GuestRange range{request.gva, request.op.bytes, VME_ACCESS_WRITE, VME_SIDE_DESTINATION};
    const Reg temporary = free == 0 ? Reg::kRax : take_lowest_reg(free);
    const HostOperand place = address_of(out, config, range, free, temporary);
    Reg value = request.reg;
    if (inline_swap) {
      // The one that addresses are checked with may serve again.
      value = temporary;
      out.hot->mov(gp(value), gp(request.reg));
      swap_bytes(out.hot, value, request.op.bytes);
    }
    out.site(range, request.op.bytes, 0);
    out.hot.store_word(place.at(0, request.op.bytes), value);
  }
  if (is_guest(config)) {
    if (absl::Status bad = check_helper(config.helpers.store); !bad.ok()) return bad;
    slow_store(out, config, request);
  }
  return out.finish();
}

}  // namespace vm_engine::internal
