#include "vm_engine/internal/x86_code.h"

#include <algorithm>
#include <array>
#include <bit>

namespace vm_engine::internal {
namespace {

namespace x86 = asmjit::x86;

x86::Vec vector_reg(unsigned id, unsigned bytes) {
  if (bytes == 64) return x86::zmm(id);
  if (bytes == 32) return x86::ymm(id);
  return x86::xmm(id);
}

}  // namespace

x86::Gp gp(Reg reg, unsigned bytes) {
  const auto id = static_cast<std::uint32_t>(reg);
  switch (bytes) {
    case 1: return x86::gpb(id);
    case 2: return x86::gpw(id);
    case 4: return x86::gpd(id);
    default: return x86::gpq(id);
  }
}

unsigned widest(VectorLevel level) {
  switch (level) {
    case VectorLevel::kAvx2: return 32;
    case VectorLevel::kAvx512: return 64;
    default: return 16;
  }
}

unsigned take_lowest(std::uint32_t& set) {
  const auto lowest = static_cast<unsigned>(std::countr_zero(set));
  set &= set - 1;
  return lowest;
}

x86::Mem HostOperand::at(std::uint64_t offset, unsigned bytes) const {
  const auto displacement = static_cast<std::int32_t>(offset);
  if (!index) return x86::Mem(gp(base), displacement, bytes);
  return x86::Mem(gp(base), gp(*index), 0, displacement, bytes);
}

X86Code::X86Code(VectorLevel level) : level_(level) {
  holder_.init(asmjit::Environment(asmjit::Arch::kX64));
  holder_.setErrorHandler(&errors_);
  holder_.attach(&assembler_);
}

void X86Code::load_word(Reg reg, const x86::Mem& from) {
  // A narrow load widens, so that it does not wait for the register's old value.
  if (from.size() < 4) {
    assembler_.movzx(gp(reg, 4), from);
  } else {
    assembler_.mov(gp(reg, from.size()), from);
  }
}

void X86Code::store_word(const x86::Mem& to, Reg reg) { assembler_.mov(to, gp(reg, to.size())); }

void X86Code::move_vector(const asmjit::Operand_& to, const asmjit::Operand_& from, unsigned vector,
                          unsigned bytes) {
  const bool wide = bytes == 64 || vector >= 16;
  const std::uint32_t wide_or_not = wide ? x86::Inst::kIdVmovdqu64 : x86::Inst::kIdVmovdqu;
  const std::uint32_t id = level_ == VectorLevel::kSse2 ? x86::Inst::kIdMovdqu : wide_or_not;
  assembler_.emit(id, to, from);
}
void X86Code::load_vector(unsigned vector, const x86::Mem& from) {
  move_vector(vector_reg(vector, from.size()), from, vector, from.size());
}
void X86Code::store_vector(const x86::Mem& to, unsigned vector) {
  move_vector(to, vector_reg(vector, to.size()), vector, to.size());
}

// One goes first whose destination nobody reads any more; where there is none the rest
// are cycles, and an exchange shortens one.
void X86Code::move_together(Moves moves) {
  std::erase_if(moves, [](const auto& move) { return move.first == move.second; });
  while (!moves.empty()) {
    const auto free = std::find_if(moves.begin(), moves.end(), [&](const auto& move) {
      return std::none_of(moves.begin(), moves.end(),
                          [&](const auto& other) { return other.second == move.first; });
    });
    if (free != moves.end()) {
      assembler_.mov(gp(free->first), gp(free->second));
      moves.erase(free);
      continue;
    }
    const auto [to, from] = moves.back();
    moves.pop_back();
    assembler_.xchg(gp(to), gp(from));
    for (auto& move : moves) {
      if (move.second == to) move.second = from;
    }
    std::erase_if(moves, [](const auto& move) { return move.first == move.second; });
  }
}

std::size_t X86Code::field_after(const void* opcode, std::size_t bytes) {
  constexpr std::uint32_t kToBeLinked = 0;
  assembler_.embed(opcode, bytes);
  assembler_.embed(&kToBeLinked, sizeof(kToBeLinked));
  return size() - sizeof(kToBeLinked);
}
std::size_t X86Code::jump() {
  constexpr std::uint8_t kJump = 0xe9;
  return field_after(&kJump, 1);
}
std::size_t X86Code::jump_if(Condition condition) {
  const std::array<std::uint8_t, 2> opcode{0x0f, static_cast<std::uint8_t>(condition)};
  return field_after(opcode.data(), opcode.size());
}
std::size_t X86Code::call() {
  constexpr std::uint8_t kCall = 0xe8;
  return field_after(&kCall, 1);
}

// Through the 8 bytes behind the instruction: no register is left to hold the address.
void X86Code::jump_to(std::uint64_t address) {
  constexpr std::array<std::uint8_t, 6> kJumpThroughNext{0xff, 0x25, 0, 0, 0, 0};
  assembler_.embed(kJumpThroughNext.data(), kJumpThroughNext.size());
  assembler_.embed(&address, sizeof(address));
}

absl::Status X86Code::take(std::vector<std::byte>& code) {
  holder_.resolveUnresolvedLinks();
  if (errors_.first != asmjit::kErrorOk) {
    return absl::InternalError(asmjit::DebugUtils::errorAsString(errors_.first));
  }
  const auto& made = holder_.textSection()->buffer();
  const auto* const bytes = reinterpret_cast<const std::byte*>(made.data());
  code.assign(bytes, bytes + made.size());
  return absl::OkStatus();
}

}  // namespace vm_engine::internal
