// Zba and Zbb: like RV64I's, functions of registers and constants that cannot fail.

#include <bit>

#include "tools/vmrun/register_function.h"

namespace vmrun {
namespace {

constexpr int count(Word value, Word mask) { return static_cast<int>(value & mask); }

template <unsigned kShift>
constexpr Word shift_add(Word a, Word b) {
  return (a << kShift) + b;
}
template <unsigned kShift>
constexpr Word shift_add_uw(Word a, Word b) {
  return (Word{low32(a)} << kShift) + b;
}
constexpr Word shift_uw(Word a, Word b) { return Word{low32(a)} << (b & 63); }
constexpr Word andn(Word a, Word b) { return a & ~b; }
constexpr Word orn(Word a, Word b) { return a | ~b; }
constexpr Word xnor(Word a, Word b) { return ~(a ^ b); }
constexpr Word min(Word a, Word b) { return sign(a) < sign(b) ? a : b; }
constexpr Word minu(Word a, Word b) { return a < b ? a : b; }
constexpr Word max(Word a, Word b) { return sign(a) < sign(b) ? b : a; }
constexpr Word maxu(Word a, Word b) { return a < b ? b : a; }
constexpr Word rol(Word a, Word b) { return std::rotl(a, count(b, 63)); }
constexpr Word ror(Word a, Word b) { return std::rotr(a, count(b, 63)); }
constexpr Word rolw(Word a, Word b) { return extend(std::rotl(low32(a), count(b, 31))); }
constexpr Word rorw(Word a, Word b) { return extend(std::rotr(low32(a), count(b, 31))); }

constexpr Word counted(int bits) { return static_cast<Word>(bits); }
constexpr Word clz(Word a, Word) { return counted(std::countl_zero(a)); }
constexpr Word ctz(Word a, Word) { return counted(std::countr_zero(a)); }
constexpr Word cpop(Word a, Word) { return counted(std::popcount(a)); }
constexpr Word clzw(Word a, Word) { return counted(std::countl_zero(low32(a))); }
constexpr Word ctzw(Word a, Word) { return counted(std::countr_zero(low32(a))); }
constexpr Word cpopw(Word a, Word) { return counted(std::popcount(low32(a))); }
constexpr Word sext_b(Word a, Word) {
  return static_cast<Word>(std::int64_t{static_cast<std::int8_t>(static_cast<std::uint8_t>(a))});
}
constexpr Word sext_h(Word a, Word) {
  return static_cast<Word>(std::int64_t{static_cast<std::int16_t>(static_cast<std::uint16_t>(a))});
}
constexpr Word zext_h(Word a, Word) { return a & 0xffff; }
constexpr Word rev8(Word a, Word) { return __builtin_bswap64(a); }
// Bytes that are not zero become all ones.
constexpr Word orc_b(Word a, Word) {
  a |= (a & 0x5555'5555'5555'5555) << 1 | (a >> 1 & 0x5555'5555'5555'5555);
  a |= (a & 0x3333'3333'3333'3333) << 2 | (a >> 2 & 0x3333'3333'3333'3333);
  return a | (a & 0x0f0f'0f0f'0f0f'0f0f) << 4 | (a >> 4 & 0x0f0f'0f0f'0f0f'0f0f);
}

Handler unary_handler(Op op) {
  switch (op) {
    case Op::kSlliUw: return immediate<shift_uw>;
    case Op::kRori: return immediate<ror>;
    case Op::kRoriw: return immediate<rorw>;
    case Op::kClz: return immediate<clz>;
    case Op::kCtz: return immediate<ctz>;
    case Op::kCpop: return immediate<cpop>;
    case Op::kClzw: return immediate<clzw>;
    case Op::kCtzw: return immediate<ctzw>;
    case Op::kCpopw: return immediate<cpopw>;
    case Op::kSextB: return immediate<sext_b>;
    case Op::kSextH: return immediate<sext_h>;
    case Op::kZextH: return immediate<zext_h>;
    case Op::kOrcB: return immediate<orc_b>;
    case Op::kRev8: return immediate<rev8>;
    default: return nullptr;
  }
}

}  // namespace

Handler bits_handler(Op op) {
  switch (op) {
    case Op::kAddUw: return registers<shift_add_uw<0>>;
    case Op::kSh1add: return registers<shift_add<1>>;
    case Op::kSh2add: return registers<shift_add<2>>;
    case Op::kSh3add: return registers<shift_add<3>>;
    case Op::kSh1addUw: return registers<shift_add_uw<1>>;
    case Op::kSh2addUw: return registers<shift_add_uw<2>>;
    case Op::kSh3addUw: return registers<shift_add_uw<3>>;
    case Op::kAndn: return registers<andn>;
    case Op::kOrn: return registers<orn>;
    case Op::kXnor: return registers<xnor>;
    case Op::kMin: return registers<min>;
    case Op::kMinu: return registers<minu>;
    case Op::kMax: return registers<max>;
    case Op::kMaxu: return registers<maxu>;
    case Op::kRol: return registers<rol>;
    case Op::kRor: return registers<ror>;
    case Op::kRolw: return registers<rolw>;
    case Op::kRorw: return registers<rorw>;
    default: return unary_handler(op);
  }
}

}  // namespace vmrun
