#include "vm_engine/internal/a64_code.h"

#include <algorithm>
#include <bit>

namespace vm_engine::internal::aarch64 {
namespace {

namespace a64 = asmjit::a64;

constexpr unsigned kChunkBits = 16;  // of a constant, what movz, movn and movk set

std::uint64_t chunk_of(std::uint64_t value, unsigned chunk) {
  return value >> (chunk * kChunkBits) & 0xffff;
}

}  // namespace

a64::GpX x_reg(Reg reg) { return a64::x(static_cast<std::uint32_t>(reg)); }
a64::GpW w_reg(Reg reg) { return a64::w(static_cast<std::uint32_t>(reg)); }

a64::Vec vector_reg(unsigned id, unsigned bytes) {
  const a64::VecV vector = a64::v(id);
  switch (bytes) {
    case 1: return vector.b();
    case 2: return vector.h();
    case 4: return vector.s();
    case 8: return vector.d();
    default: return vector.q();
  }
}

unsigned take_lowest(std::uint32_t& set) {
  const auto lowest = static_cast<unsigned>(std::countr_zero(set));
  set &= set - 1;
  return lowest;
}

A64Code::A64Code() {
  holder.init(asmjit::Environment(asmjit::Arch::kAArch64));
  holder.setErrorHandler(&error);
  holder.attach(&assembler);
}

void A64Code::load_constant(Reg to, std::uint64_t value) {
  const auto chunks_of = [&](std::uint64_t bits) {
    unsigned count = 0;
    for (unsigned chunk = 0; chunk < 4; ++chunk) count += chunk_of(value, chunk) == bits ? 1u : 0u;
    return count;
  };
  const bool negative = chunks_of(0xffff) > chunks_of(0);
  const std::uint64_t background = negative ? 0xffff : 0;
  unsigned chunk = 0;
  while (chunk < 3 && chunk_of(value, chunk) == background) ++chunk;
  if (chunk_of(value, chunk) == background) chunk = 0;
  const std::uint64_t first = chunk_of(value, chunk) ^ background;
  if (negative) assembler.movn(x_reg(to), first, chunk * kChunkBits);
  if (!negative) assembler.movz(x_reg(to), first, chunk * kChunkBits);
  while (++chunk < 4) {
    const std::uint64_t bits = chunk_of(value, chunk);
    if (bits != background) assembler.movk(x_reg(to), bits, chunk * kChunkBits);
  }
}

void A64Code::add_to_sp(std::int32_t bytes) {
  const auto distance = static_cast<std::uint32_t>(bytes < 0 ? -bytes : bytes);
  // An immediate has 12 bits, which may stand for multiples of 4096.
  for (const std::uint32_t part : {distance & ~0xfffu, distance & 0xfffu}) {
    if (part == 0) continue;
    if (bytes < 0) assembler.sub(a64::sp, a64::sp, part);
    if (bytes > 0) assembler.add(a64::sp, a64::sp, part);
  }
}

// One goes first whose destination nobody reads any more; where there is none the rest are
// cycles, and what one of them waits for is put aside.
void A64Code::move_together(std::vector<RegMove> moves, Reg spare) {
  std::erase_if(moves, [](const RegMove& move) { return move.first == move.second; });
  while (!moves.empty()) {
    const auto free = std::find_if(moves.begin(), moves.end(), [&](const RegMove& move) {
      return std::none_of(moves.begin(), moves.end(),
                          [&](const RegMove& other) { return other.second == move.first; });
    });
    if (free != moves.end()) {
      assembler.mov(x_reg(free->first), x_reg(free->second));
      moves.erase(free);
      continue;
    }
    const Reg aside = moves.back().first;
    assembler.mov(x_reg(spare), x_reg(aside));
    for (RegMove& move : moves) {
      if (move.second == aside) move.second = spare;
    }
  }
}

void A64Code::load(Reg to, const a64::Mem& from, MemOp op) {
  const bool sign = op.extend == Extend::kSign && op.order == ByteOrder::kLittle;
  switch (op.bytes) {
    case 1: sign ? assembler.ldrsb(x_reg(to), from) : assembler.ldrb(w_reg(to), from); break;
    case 2: sign ? assembler.ldrsh(x_reg(to), from) : assembler.ldrh(w_reg(to), from); break;
    case 4: sign ? assembler.ldrsw(x_reg(to), from) : assembler.ldr(w_reg(to), from); break;
    default: assembler.ldr(x_reg(to), from); break;
  }
}

void A64Code::store(Reg from, const a64::Mem& to, MemOp op) {
  switch (op.bytes) {
    case 1: assembler.strb(w_reg(from), to); break;
    case 2: assembler.strh(w_reg(from), to); break;
    case 4: assembler.str(w_reg(from), to); break;
    default: assembler.str(x_reg(from), to); break;
  }
}

void A64Code::finish_load(Reg reg, MemOp op) {
  if (op.order == ByteOrder::kLittle) return;
  swap_bytes(reg, reg, op.bytes);
  if (op.extend == Extend::kSign) extend(reg, reg, op);
}

void A64Code::extend(Reg to, Reg from, MemOp op) {
  const bool sign = op.extend == Extend::kSign;
  switch (op.bytes) {
    case 1:
      sign ? assembler.sxtb(x_reg(to), w_reg(from)) : assembler.uxtb(w_reg(to), w_reg(from));
      break;
    case 2:
      sign ? assembler.sxth(x_reg(to), w_reg(from)) : assembler.uxth(w_reg(to), w_reg(from));
      break;
    case 4:
      sign ? assembler.sxtw(x_reg(to), w_reg(from)) : assembler.mov(w_reg(to), w_reg(from));
      break;
    default:
      if (to != from) assembler.mov(x_reg(to), x_reg(from));
  }
}

void A64Code::swap_bytes(Reg to, Reg from, unsigned bytes) {
  switch (bytes) {
    case 2: assembler.rev16(w_reg(to), w_reg(from)); break;
    case 4: assembler.rev(w_reg(to), w_reg(from)); break;
    default: assembler.rev(x_reg(to), x_reg(from)); break;
  }
}

}  // namespace vm_engine::internal::aarch64
