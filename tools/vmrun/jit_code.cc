#include "tools/vmrun/jit_code.h"

#include <array>
#include <cstring>

#include "tools/vmrun/hart_state.h"

namespace vmrun {
namespace {

namespace x86 = asmjit::x86;

constexpr std::size_t kField = 4;

std::int32_t displacement(unsigned guest) {
  return static_cast<std::int32_t>(guest) * 8 - kRegisterBias;
}

}  // namespace

JitCode::JitCode(vm_engine::CodeBuffer& buffer) : buffer_(&buffer) {
  ok_ = holder_.init(asmjit::Environment(asmjit::Arch::kX64)) == asmjit::kErrorOk &&
        holder_.attach(&assembler_) == asmjit::kErrorOk;
}

void JitCode::append(const void* bytes, std::size_t count) {
  if (buffer_->bytes.size() - buffer_->used < count) return fail();
  std::memcpy(&buffer_->bytes[buffer_->used], bytes, count);
  buffer_->used += count;
}

std::size_t JitCode::here() {
  const std::size_t made = assembler_.offset();
  if (made != taken_) append(holder_.textSection()->buffer().data() + taken_, made - taken_);
  taken_ = made;
  return buffer_->used;
}

void JitCode::set_target(vm_engine::CodeBuffer& buffer, std::size_t field, std::size_t target) {
  const auto distance = static_cast<std::int32_t>(static_cast<std::int64_t>(target) -
                                                  static_cast<std::int64_t>(field + kField));
  std::memcpy(&buffer.bytes[field], &distance, kField);
}

std::size_t JitCode::open_jump() {
  here();
  constexpr std::array<std::uint8_t, 5> kJump{0xe9};
  append(kJump.data(), kJump.size());
  return buffer_->used - kField;
}

std::size_t JitCode::open_jump_if(unsigned condition) {
  here();
  const std::array<std::uint8_t, 6> jump{0x0f, static_cast<std::uint8_t>(0x80 + condition)};
  append(jump.data(), jump.size());
  return buffer_->used - kField;
}

void JitCode::jump(std::size_t target) {
  const std::size_t field = open_jump();
  if (ok_) set_target(*buffer_, field, target);
}

void JitCode::jump_if(unsigned condition, std::size_t target) {
  const std::size_t field = open_jump_if(condition);
  if (ok_) set_target(*buffer_, field, target);
}

void JitCode::call(std::size_t target) {
  here();
  constexpr std::array<std::uint8_t, 5> kCall{0xe8};
  append(kCall.data(), kCall.size());
  if (ok_) set_target(*buffer_, buffer_->used - kField, target);
}

x86::Mem JitCode::slot(unsigned guest, unsigned bytes) {
  return x86::Mem(x86::rbp, displacement(guest), bytes);
}

void JitCode::emit(InstId id, const asmjit::Operand_& a, const asmjit::Operand_& b) {
  if (assembler_.emit(id, a, b) != asmjit::kErrorOk) fail();
}

void JitCode::load_constant(Gp to, std::uint64_t value) {
  const auto extended = static_cast<std::int64_t>(value);
  if (value == 0) return emit(x86::Inst::kIdXor, to.r32(), to.r32());
  if (value <= UINT32_MAX) return emit(x86::Inst::kIdMov, to.r32(), asmjit::Imm(extended));
  emit(x86::Inst::kIdMov, to, asmjit::Imm(extended));
}

void JitCode::read(Gp to, unsigned guest) {
  if (guest == 0) return load_constant(to, 0);
  if (!is_fixed(guest)) return emit(x86::Inst::kIdMov, to, slot(guest));
  if (fixed(guest) != to) emit(x86::Inst::kIdMov, to, fixed(guest));
}

void JitCode::write(unsigned guest, Gp from) {
  if (guest == kSink) return;
  if (!is_fixed(guest)) return emit(x86::Inst::kIdMov, slot(guest), from);
  if (fixed(guest) != from) emit(x86::Inst::kIdMov, fixed(guest), from);
}

void JitCode::write_constant(unsigned guest, std::uint64_t value) {
  if (guest == kSink) return;
  const auto extended = static_cast<std::int64_t>(value);
  if (!is_fixed(guest) && extended == static_cast<std::int32_t>(extended)) {
    return emit(x86::Inst::kIdMov, slot(guest), asmjit::Imm(extended));
  }
  const Gp out = destination(guest, x86::rax);
  load_constant(out, value);
  write(guest, out);
}

JitCode::Gp JitCode::in_register(unsigned guest, Gp spare) {
  if (is_fixed(guest)) return fixed(guest);
  read(spare, guest);
  return spare;
}

asmjit::Operand JitCode::operand(unsigned guest, unsigned bytes, Gp spare) {
  if (is_fixed(guest)) return sized(fixed(guest), bytes);
  if (guest != 0) return slot(guest, bytes);
  load_constant(spare, 0);
  return sized(spare, bytes);
}

void JitCode::load_fixed() {
  for (const FixedRegister& pair : kFixedRegisters) {
    emit(x86::Inst::kIdMov, x86::gpq(pair.host), slot(pair.guest));
  }
}

void JitCode::store_fixed() {
  for (const FixedRegister& pair : kFixedRegisters) {
    emit(x86::Inst::kIdMov, slot(pair.guest), x86::gpq(pair.host));
  }
}

}  // namespace vmrun
